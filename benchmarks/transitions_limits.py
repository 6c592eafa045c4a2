"""Curves on which a detector may see what is not there: python benchmarks/transitions_limits.py [--runs N] [--write]

40 to 200 checkpoints, no transition; how many devi reports, by kind. Noise whose correlation lasts longer than
transition_cases.py has it, or that eight metrics share as losses on one batch do; values that are counted, rounded or
carried forward; spikes that take long to come back; what an optimizer's schedule draws; and records that begin while
something dies away.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr
from scipy.signal import lfilter
from tables import put_table, seeded_options

from devi.transitions.fusion import OPERATING_POINTS, find_transitions

EVEN = 100.0 * np.arange(1, 201)
SPACED = np.unique(np.round(np.geomspace(1, 1e5, 150)))
FEW = np.unique(np.round(np.geomspace(1, 20_000, 30)))
LATE = np.unique(np.round(np.geomspace(300, 3000, 40)))
HEADER = ("curve", "checkpoints", *(f"alarms per run, {point}" for point in OPERATING_POINTS))


def correlated(rho: float, steps: np.ndarray) -> Callable[[np.random.Generator], np.ndarray]:
    """Noise alone, AR(1)."""
    return lambda random: lfilter([1.0], [1.0, -rho], random.normal(size=len(steps) + 200))[200:]


def cosine(random: np.random.Generator) -> np.ndarray:
    """A power law, and a loss that follows the learning rate's cosine down to the end."""
    share = EVEN / EVEN[-1]
    return 2 + 0.5 * (1 + np.cos(np.pi * share)) + 3 * EVEN**-0.4 + 0.02 * random.normal(size=len(EVEN))


def wiggling(random: np.random.Generator, share: float) -> np.ndarray:
    """A power law with a complex exponent, period 0.4 to 1 decade."""
    period, phase = random.uniform(0.4, 1.0), random.uniform(0, 2 * np.pi)
    wave = 1 + share * np.cos(2 * np.pi * np.log10(SPACED) / period + phase)
    return SPACED**-0.3 * wave + 0.003 * random.normal(size=len(SPACED))


def slow(steps: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return (1 + steps / 10 ** random.uniform(0, 2)) ** -random.uniform(0.2, 0.6)


def on_one_batch(random: np.random.Generator, rho: float) -> np.ndarray:
    """Eight metrics on power laws of their own, nine tenths of whose noise is the same, (metric, n)."""
    common = np.sqrt(1 - rho**2) * lfilter([1.0], [1.0, -rho], random.normal(size=len(SPACED) + 200))[200:]
    own = random.normal(size=(8, len(SPACED)))
    noise = 0.9**0.5 * random.choice([-1, 1], size=(8, 1)) * common + 0.1**0.5 * own
    return random.uniform(0.5, 2, size=(8, 1)) * slow(SPACED, random) + 0.05 * noise


def carried_forward(random: np.random.Generator) -> np.ndarray:
    """Evaluated every so many rows, and repeated in between."""
    every = int(random.integers(3, 12))
    seen = (np.arange(len(EVEN)) // every) * every
    return (slow(EVEN, random) + 0.01 * random.normal(size=len(EVEN)))[seen]


def spiking(random: np.random.Generator, width: float) -> np.ndarray:
    """Up at one checkpoint; e^-1 of it is left after `width` decades."""
    x, y = np.log10(SPACED), slow(SPACED, random)
    at = np.searchsorted(x, random.uniform(1.5, 3.5))
    spike = np.where(np.arange(len(x)) >= at, np.exp(-np.maximum(x - x[at], 0) / width), 0)
    return y + np.ptp(y) * (random.uniform(0.3, 1) * spike + 0.01 * random.normal(size=len(x)))


def cycling(random: np.random.Generator, periods: int) -> np.ndarray:
    """A wave in even steps, as cycles of a learning rate draw it."""
    y = slow(EVEN, random)
    wave = np.sin(2 * np.pi * periods * EVEN / EVEN[-1] + random.uniform(0, 2 * np.pi))
    return y + np.ptp(y) * (0.1 * wave + 0.01 * random.normal(size=len(EVEN)))


def begun_before(random: np.random.Generator, shape: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Three metrics in which something dies away that began before the first row did, on a drift, hardly any noise."""
    share = LATE / LATE[0] - 1
    left, drift = shape(share / 10 ** random.uniform(-1.2, -0.2)), random.uniform(-0.07, 0.07, size=(3, 1)) * share
    return left + drift + 10 ** random.uniform(-5, -3, size=(3, 1)) * random.normal(size=(3, len(LATE)))


def few_levels(random: np.random.Generator) -> np.ndarray:
    fall = (1 + FEW / random.uniform(10, 3000)) ** -random.uniform(0.2, 0.7)
    return np.asarray(np.round(random.uniform(0.3, 0.8) * fall, 1))


CURVES: dict[str, tuple[np.ndarray, Callable[[np.random.Generator], np.ndarray]]] = {
    **{f"AR(1) of {rho}": (EVEN, correlated(rho, EVEN)) for rho in (0.6, 0.8, 0.9)},
    **{f"AR(1) of {rho}, spaced by log": (SPACED, correlated(rho, SPACED)) for rho in (0.6, 0.8, 0.9)},
    "a fair coin": (EVEN, lambda random: (random.random(200) < 0.5).astype(float)),
    "events, 0.3 a checkpoint": (SPACED, lambda random: random.poisson(0.3, len(SPACED)).astype(float)),
    "an accuracy on 8 examples, constant": (EVEN, lambda random: random.binomial(8, 0.5, 200) / 8),
    "exp(−t/τ), rounded to 0.1": (EVEN, lambda random: np.round(np.exp(-EVEN / random.uniform(1000, 20_000)), 1)),
    "a power law of two or three rounded levels": (FEW, few_levels),
    "a cosine schedule": (EVEN, cosine),
    "exp(−t/800), noise of 20% of it": (EVEN, lambda random: np.exp(-EVEN / 800 + 0.2 * random.normal(size=200))),
    "a running best": (EVEN, lambda random: np.minimum.accumulate(3 * EVEN**-0.4 + 0.1 * random.normal(size=200))),
    "a power law with a wiggle of 10% of it": (SPACED, lambda random: wiggling(random, 0.1)),
    "a power law with a wiggle of 20% of it": (SPACED, lambda random: wiggling(random, 0.2)),
    **{
        f"eight metrics that share their noise, AR(1) of {rho}": (SPACED, partial(on_one_batch, rho=rho))
        for rho in (0.0, 0.5, 0.7)
    },
    "values carried forward": (EVEN, carried_forward),
    **{f"a spike that is back in {2.2 * w:.2f} decades": (SPACED, partial(spiking, width=w)) for w in (0.1, 0.2, 0.4)},
    **{
        f"what began before the first row: {name}": (LATE, partial(begun_before, shape=shape))
        for name, shape in (
            ("exp(−s/τ)", lambda s: np.exp(-s)),
            ("exp(−(s/τ)^0.8)", lambda s: np.exp(-(s**0.8))),
            ("1/(1 + s/τ)", lambda s: 1 / (1 + s)),
            ("a sigmoid's end", lambda s: 1 / (1 + (1 + s) ** 5)),
        )
    },
    **{f"{periods} periods in even steps": (EVEN, partial(cycling, periods=periods)) for periods in (3, 5, 10, 20)},
}


def main() -> None:
    options = seeded_options(__doc__, runs=40, seed=0)
    rows = []
    for name, (steps, made) in CURVES.items():
        alarms = dict.fromkeys(OPERATING_POINTS, 0)
        for seed in range(options.seed, options.seed + options.runs):
            metrics = np.atleast_2d(made(np.random.default_rng(seed)))
            curves = {f"metric{i}": ("step", values) for i, values in enumerate(metrics)}
            found = find_transitions(xr.Dataset(curves, coords={"step": steps}), operating_point="exploratory")
            for one in found:
                for point, least in OPERATING_POINTS.items():
                    alarms[point] += one.confidence >= least
        rows.append([name, str(len(steps)), *(f"{count / options.runs:.2f}" for count in alarms.values())])
        print(*rows[-1], sep=" | ", flush=True)
    if options.write:
        first, last = options.seed, options.seed + options.runs - 1
        put_table("transition limits", HEADER, rows, f"No transition; seeds {first} to {last} of each.")


if __name__ == "__main__":
    main()
