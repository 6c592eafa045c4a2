"""Changes as other runs than those of transition_cases.py have them: python benchmarks/transitions_found.py [--write]

One metric; found, and how well dated, by kind: staircases of equal steps whose 10-90% span is a share of the way to the
next one (their places jittered: evenly spaced they would be a log-periodic wiggle), jumps between few checkpoints, and
sigmoids on a slow trend, the broader the more alike to it. The kinds are a referee's; the generators are not his.

A found change has its midpoint in [onset / 1.1, end · 1.1] of a planted one, one to one; `extra` are all others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from tables import put_table, seeded_options
from transition_cases import Planted, matched

from devi.transitions.fusion import find_transitions

HEADER = ("change", "planted", "recall", "extra, per run", *(f"{date} in its 90% interval" for date in (
    "onset", "midpoint", "end")), "interval of the midpoint, decades (median)")  # fmt: skip
Made = tuple[np.ndarray, np.ndarray, list[Planted]]


def logistic(x: np.ndarray, centre: float, width: float) -> np.ndarray:
    return 1 / (1 + np.exp(-2 * np.log(9) * (x - centre) / width))


def planted(kind: str, centre: float, width: float) -> Planted:
    return Planted(kind, 10 ** (centre - width / 2), 10 ** (centre + width / 2))


def staircase(random: np.random.Generator, count: int, share: float) -> Made:
    steps = np.unique(np.round(np.geomspace(10, 10 ** random.uniform(5, 5.5), 200)))
    x = np.log10(steps)
    apart = 0.8 * (x[-1] - x[0]) / count
    places = x[0] + 0.1 * (x[-1] - x[0]) + apart * (np.arange(count) + 0.5 + random.uniform(-0.25, 0.25, count))
    width = min(share * apart, 0.6)
    y = 1 - sum(logistic(x, place, width) for place in places) / count
    return steps, y + 0.005 * random.normal(size=len(x)), [planted("sigmoid", place, width) for place in places]


def jump(random: np.random.Generator, count: int, noise: float) -> Made:
    steps = np.unique(np.round(np.geomspace(1, 1e5, count)))
    at = int(random.integers(0.3 * len(steps), 0.75 * len(steps)))
    y = 1 - 0.5 * (np.arange(len(steps)) >= at) + noise * random.normal(size=len(steps))
    return steps, y, [Planted("jump", steps[at - 1], steps[at])]


def on_a_trend(random: np.random.Generator, width: float, size: float) -> Made:
    """size: of the change, over that of the trend."""
    steps = np.unique(np.round(np.geomspace(1, 10 ** random.uniform(4, 5), 160)))
    x = np.log10(steps)
    centre = x[-1] * random.uniform(0.3, 0.8)
    trend = (1 + steps / 10 ** random.uniform(0, 2)) ** -random.uniform(0.2, 0.6)
    y = trend / np.ptp(trend) + random.choice([-1.0, 1.0]) * size * logistic(x, centre, width)
    noise = 10 ** random.uniform(np.log10(0.005), np.log10(0.03))
    return steps, y + np.ptp(y) * noise * random.normal(size=len(x)), [planted("sigmoid", centre, width)]


def beside_a_decay(random: np.random.Generator, width: float) -> Made:
    """In a loss that falls 1.7 times as far by a stretched exponential."""
    steps = np.unique(np.round(np.geomspace(2, 20_000, int(random.choice([150, 320, 700])))))
    x, centre = np.log10(steps), random.uniform(2.5, 4)
    decay = 2 * np.exp(-((steps / 10 ** random.uniform(1.5, 4)) ** 0.7))
    y = decay - 1.2 * logistic(x, centre, width) + 0.05 * random.normal(size=len(x))
    return steps, y, [planted("sigmoid", centre, width)]


CHANGES: dict[str, Callable[[np.random.Generator], Made]] = {
    **{
        f"{count} steps, each {share:g} of the way to the next": lambda r, c=count, s=share: staircase(r, c, s)
        for count in (3, 4, 6)
        for share in (0.25, 0.4, 0.55)
    },
    **{
        f"a jump among {count} checkpoints, noise {noise:.0%} of it": lambda r, c=count, s=noise: jump(r, c, 0.5 * s)
        for count, noise in ((30, 0.02), (60, 0.06), (120, 0.2))
    },
    **{
        f"a sigmoid of {width} decades, {size:g} of a power law": lambda r, w=width, s=size: on_a_trend(r, w, s)
        for width in (0.1, 0.3, 0.5, 0.7)
        for size in (0.3, 1.0)
    },
    **{
        f"a sigmoid of {width} decades beside a stretched exponential": lambda r, w=width: beside_a_decay(r, w)
        for width in (0.2, 0.4, 0.6)
    },
}


def main() -> None:
    options = seeded_options(__doc__, runs=40, seed=0)
    rows = []
    for name, made in CHANGES.items():
        count = hits = extra = 0
        held: list[list[bool]] = []
        widths: list[float] = []
        for seed in range(options.seed, options.seed + options.runs):
            steps, y, true = made(np.random.default_rng(seed))
            found = find_transitions(xr.Dataset({"metric": ("step", y)}, coords={"step": steps}))
            pairs = matched([one.midpoint for one in found], tuple(true))
            count, hits, extra = count + len(true), hits + len(pairs), extra + len(found) - len(pairs)
            for i, j in pairs.items():
                low, high = found[i].intervals["midpoint"]
                widths.append(float(np.log10(high / low)))
                if true[j].kind != "jump":  # which has no date but its gap
                    held.append([
                        found[i].intervals[date][0] <= getattr(true[j], date) <= found[i].intervals[date][1]
                        for date in ("onset", "midpoint", "end")
                    ])  # fmt: skip
        shares = [f"{share:.2f}" for share in np.mean(held, axis=0)] if held else ["-"] * 3
        width = f"{np.median(widths):.2f}" if widths else "-"
        rows.append([name, str(count), f"{hits / count:.2f}", f"{extra / options.runs:.2f}", *shares, width])
        print(*rows[-1], sep=" | ", flush=True)
    if options.write:
        last = options.seed + options.runs - 1
        put_table("transitions found", HEADER, rows, f"Strict. Seeds {options.seed} to {last} of each.")


if __name__ == "__main__":
    main()
