"""Runs with planted changes, and runs without any, for transitions.py and fit_confidence.py.

A case is a run of 2-5 metrics along 60-250 checkpoints, spaced by log or evenly. Each is a slow background (flat,
power law, stretched exponential, two exponentials, log trend) plus noise (white, AR(1), heteroscedastic or spiky,
1-15% of the unit amplitude); in a random subset of the metrics 1-3 shared changes (sigmoid, ramp, jump or kink) are
planted. Null cases are the same without changes: slow backgrounds, 45% of them with shared optimizer slingshots (a
spike and its recovery), and backgrounds with a log-periodic oscillation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

KINDS = ("sigmoid", "ramp", "jump", "kink")
NULLS = ("slow", "slingshot", "oscillation")


@dataclass(frozen=True)
class Planted:
    """A true change; onset and end in optimizer steps."""

    kind: str
    onset: float
    end: float

    @property
    def midpoint(self) -> float:
        return float(np.sqrt(self.onset * self.end))


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


def steps_of(count: int, random: np.random.Generator) -> np.ndarray:
    """So many checkpoints, spaced by log."""
    last, asked, steps = 10 ** random.uniform(4, 5), count, np.zeros(0)
    while len(steps) < count:  # the first few coincide
        steps = np.unique(np.round(np.geomspace(1, last, asked)))
        asked += 1
    return steps


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
    return summed(kind, steps, int(random.integers(2, 6)), random)


def summed(kind: str, steps: np.ndarray, metrics: int, random: np.random.Generator) -> Case:
    """Backgrounds, changes or disturbances of this kind and noise for so many metrics on these steps."""
    x = np.log10(steps)
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
