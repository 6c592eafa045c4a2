"""How many planted transitions devi finds, and how often it alarms without any: python benchmarks/transitions.py

A case is a run of 2-5 metrics along 60-250 checkpoints, spaced by log or evenly. Each is a slow background (flat,
power law, stretched exponential, two exponentials, log trend) plus noise (white, AR(1), heteroscedastic or spiky,
1-15% of the unit amplitude); in a random subset of the metrics 1-3 shared changes (sigmoid, ramp, jump or kink) are
planted. Null cases are the same without changes: slow backgrounds, 45% of them with shared optimizer slingshots (a
spike and its recovery), and backgrounds with a log-periodic oscillation.

A prediction matches a planted change if its midpoint lies in [onset / 1.1, end · 1.1], one to one; every other
prediction is a false alarm. `--seed` gives fresh cases: those of fit_confidence.py have seeds below 2000.
Expected calibration error: over five bins of confidence, the mean distance between the confidence and the share of
predictions that match, on all predictions of the exploratory point; a null run counts as any other.

`--write` puts the table into benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment
from tables import put_table

from devi.transitions.fusion import OPERATING_POINTS, find_transitions
from devi.transitions.transition import Transition

KINDS = ("sigmoid", "ramp", "jump", "kink")
NULLS = ("slow", "slingshot", "oscillation")


@dataclass(frozen=True)
class Planted:
    """A true change; onset and end in optimizer steps."""

    kind: str
    onset: float
    end: float


@dataclass(frozen=True)
class Case:
    trajectories: xr.Dataset
    planted: tuple[Planted, ...]
    kind: str


def _background(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    t = 10**x
    tau = 10 ** random.uniform(x[0], x[-1])
    kind = random.choice(["flat", "power", "stretched", "two", "log"])
    if kind == "flat":
        y = np.zeros_like(x)
    elif kind == "power":
        y = (1 + t / tau) ** -random.uniform(0.2, 1.5)
    elif kind == "stretched":
        y = np.exp(-((t / tau) ** random.uniform(0.4, 1.0)))
    elif kind == "two":
        other = 10 ** random.uniform(x[0], x[-1])
        share = random.uniform(0.2, 0.8)
        y = share * np.exp(-t / tau) + (1 - share) * np.exp(-t / other)
    else:
        y = -(x - x[0]) / (x[-1] - x[0])
    return random.choice([-1.0, 1.0]) * random.uniform(0.3, 2.0) * y


def _noise(n: int, random: np.random.Generator) -> np.ndarray:
    size = 10 ** random.uniform(-2, np.log10(0.15))
    kind = random.choice(["white", "ar", "heteroscedastic", "spiky"])
    e = random.normal(size=n)
    if kind == "ar":
        rho = random.uniform(0.4, 0.8)
        for i in range(1, n):
            e[i] = rho * e[i - 1] + np.sqrt(1 - rho**2) * e[i]
    elif kind == "heteroscedastic":
        e *= np.linspace(*random.permutation([0.3, 1.5]), n)
    elif kind == "spiky":
        hit = random.random(n) < 0.03
        e[hit] += random.choice([-1, 1], size=hit.sum()) * random.uniform(4, 10, size=hit.sum())
    return size * e


def _steps(random: np.random.Generator) -> np.ndarray:
    count = int(random.integers(60, 251))
    last = 10 ** random.uniform(3, 5)
    if random.random() < 0.6:
        return np.unique(np.round(np.geomspace(1, last, int(count * 1.2))))[-count:]
    return np.unique(np.round(np.linspace(last / count, last, count)))


def _plant(kind: str, x: np.ndarray, taken: list[tuple[float, float]], random: np.random.Generator) -> tuple | None:
    """A change (curve (n,), onset, end in decades) clear of those taken, with 2 checkpoints or more on either side."""
    for _ in range(50):
        i = int(random.integers(2, len(x) - 2))
        width = random.uniform(0.05, 0.85) if kind in ("sigmoid", "ramp") else 0.1
        centre = random.uniform(x[3], x[-4]) if kind != "jump" else (x[i - 1] + x[i]) / 2
        onset, end = centre - width / 2, centre + width / 2
        if kind == "jump":
            onset, end = x[i - 1], x[i]
        if onset < x[1] or end > x[-2] or (kind == "kink" and x[-1] - centre < 0.4):
            continue
        if any(onset < high + 0.2 and low < end + 0.2 for low, high in taken):
            continue
        if kind == "sigmoid":
            return 1 / (1 + np.exp(-2 * np.log(9) * (x - centre) / width)), onset, end
        if kind == "ramp":
            return np.clip(0.5 + 0.8 * (x - centre) / width, 0, 1), onset, end
        if kind == "jump":
            return (x > centre).astype(float), onset, end
        return np.maximum(x - centre, 0) / (x[-1] - centre), onset, end
    return None


def case(kind: str, seed: int) -> Case:
    """The case of one kind (one of KINDS or NULLS) and seed."""
    random = np.random.default_rng([seed, (KINDS + NULLS).index(kind)])
    steps = _steps(random)
    x = np.log10(steps)
    metrics = int(random.integers(2, 6))
    curves = np.stack([_background(x, random) for _ in range(metrics)])
    planted: list[Planted] = []
    taken: list[tuple[float, float]] = []
    for _ in range(int(random.integers(1, 4)) if kind in KINDS else 0):
        change = _plant(kind, x, taken, random)
        if change is None:
            continue
        moving = random.random(metrics) < 0.6
        moving[random.integers(metrics)] = True
        size = random.choice([-1.0, 1.0], size=metrics) * random.uniform(0.7, 1.3, size=metrics)
        curves += (moving * size)[:, None] * change[0]
        taken.append((change[1], change[2]))
        planted.append(Planted(kind, 10 ** change[1], 10 ** change[2]))
    if kind == "slingshot" or (kind in KINDS and random.random() < 0.2):
        for at in random.choice(np.arange(5, len(x) - 5), size=int(random.integers(1, 4)), replace=False):
            gap = steps[at + 1] - steps[at]
            shape = np.where(steps >= steps[at], np.exp(-(steps - steps[at]) / (gap * random.uniform(0.3, 3))), 0)
            curves += random.uniform(0.5, 3, size=metrics)[:, None] * shape
    if kind == "oscillation":
        omega = 2 * np.pi / random.uniform(0.3, 1.0)
        wiggle = random.uniform(0.1, 0.5, size=metrics)[:, None]
        curves += wiggle * np.cos(omega * x + random.uniform(0, 2 * np.pi))
    curves += np.stack([_noise(len(x), random) for _ in range(metrics)])
    data = {f"metric{i}": ("step", curve) for i, curve in enumerate(curves)}
    return Case(xr.Dataset(data, coords={"step": steps}), tuple(planted), kind)


def matched(midpoints: list[float], planted: tuple[Planted, ...]) -> dict[int, int]:
    """Prediction -> planted change, one to one."""
    fits = np.array([[p.onset / 1.1 <= m <= p.end * 1.1 for p in planted] for m in midpoints], dtype=float)
    if not fits.size:
        return {}
    rows, columns = linear_sum_assignment(-fits)
    return {int(r): int(c) for r, c in zip(rows, columns, strict=True) if fits[r, c]}


def measure(cases: list[Case], found: list[list[Transition]], least_confidence: float) -> dict[str, Counter]:
    """Counts by kind of case: planted, found, false, runs."""
    counts: dict[str, Counter] = {}
    for one, transitions in zip(cases, found, strict=True):
        reported = [t for t in transitions if t.confidence >= least_confidence]
        pairs = matched([t.midpoint for t in reported], one.planted)
        count = counts.setdefault(one.kind, Counter())
        count["runs"] += 1
        count["planted"] += len(one.planted)
        count["found"] += len(pairs)
        count["false"] += len(reported) - len(pairs)
    return counts


def calibration_error(cases: list[Case], found: list[list[Transition]]) -> tuple[float, int]:
    """Expected calibration error over five bins, and the number of predictions."""
    confidence, true = [], []
    for one, transitions in zip(cases, found, strict=True):
        pairs = matched([t.midpoint for t in transitions], one.planted)
        confidence += [t.confidence for t in transitions]
        true += [float(i in pairs) for i in range(len(transitions))]
    p, t = np.array(confidence), np.array(true)
    place = np.minimum((p * 5).astype(int), 4)
    gaps = [np.mean(place == k) * abs(p[place == k].mean() - t[place == k].mean()) for k in set(place)]
    return float(sum(gaps)), len(p)


def row_of(operating_point: str, counts: dict[str, Counter]) -> list[str]:
    """F1 over all cases, recall by kind of change, false alarms per run with changes and by kind of null."""
    total = sum(counts.values(), Counter())
    precision = total["found"] / max(total["found"] + total["false"], 1)
    recall = total["found"] / total["planted"]
    planted = sum((counts[kind] for kind in KINDS), Counter())
    nulls = sum((counts[kind] for kind in NULLS), Counter())
    return [
        operating_point,
        f"{2 * precision * recall / max(precision + recall, 1e-9):.2f}",
        *(f"{counts[kind]['found'] / counts[kind]['planted']:.2f}" for kind in KINDS),
        f"{planted['false'] / planted['runs']:.2f}",
        f"{nulls['false'] / nulls['runs']:.2f}",
        *(f"{counts[kind]['false'] / counts[kind]['runs']:.2f}" for kind in NULLS),
    ]


HEADER = (
    ["operating point", "F1"]
    + [f"recall, {kind}" for kind in KINDS]
    + ["false, per run with changes", "false, per null run"]
    + [f"{kind} null" for kind in NULLS]
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=5000, help="first seed of the cases")
    parser.add_argument("--runs", type=int, default=25, help="cases of each kind")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    settings = parser.parse_args()
    cases = [case(kind, settings.seed + i) for kind in KINDS + NULLS for i in range(settings.runs)]
    start = time.perf_counter()
    found = [find_transitions(one.trajectories, operating_point="exploratory") for one in cases]
    seconds = (time.perf_counter() - start) / len(cases)
    rows = []
    for operating_point in OPERATING_POINTS:  # strict keeps those of the exploratory that are surer
        rows.append(row_of(operating_point, measure(cases, found, OPERATING_POINTS[operating_point])))
        print(*(f"{name}: {cell}" for name, cell in zip(HEADER, rows[-1], strict=True)), sep="\n  ")
    error, predictions = calibration_error(cases, found)
    note = (
        f"Seeds {settings.seed} to {settings.seed + settings.runs - 1} of each kind, {len(cases)} runs,"
        f" {sum(len(one.planted) for one in cases)} planted changes."
        f" Expected calibration error {error:.3f} over {predictions} predictions."
    )
    print(note, f"{seconds:.2f} s a run.")
    if settings.write:
        put_table("transitions", HEADER, rows, note)


if __name__ == "__main__":
    main()
