"""Plateaus of the learning coefficient: where it stays at one level, the developmental stages that it alone shows.

A plateau is a stretch of at least SHORTEST decades and FEWEST checkpoints in which the running median of five of the
estimates stays within FLAT of the curve's range beyond what their errors explain. The longest is taken first. Estimates
that their own diagnostics flag as unhealthy are left out: they have no level to quote.

Source: Hoogland et al. 2024, arXiv:2402.02364 (stages end where the curve of the coefficient turns or flattens; there
by the zeros of a smoothed derivative, here by level, which needs no bandwidth).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from devi.transitions.flags import is_unhealthy
from devi.transitions.noise import local_noise, running_median

FLAT = 0.05  # of the range of the curve: half of the smallest change that the search weighs
SHORTEST = 0.3  # decades
FEWEST = 5  # checkpoints
EXTREME = 3.5  # deviations: as far as the largest of a few hundred medians goes to either side
OF_FIVE = 0.54  # standard deviation of the median of five, in units of that of one


class Plateau(NamedTuple):
    """first, last: optimizer steps; level: mean of the estimates; error: its standard error, NaN without errors."""

    first: float
    last: float
    level: float
    error: float


def plateaus_of(trajectories: xr.Dataset, inside: np.ndarray | None = None, metric: str = "llc") -> list[Plateau]:
    """The plateaus of a curve (step,), in the order of time; [] without the curve.

    inside  (step,) bool: the checkpoints among which they are looked for, a stage; None: all
    """
    if metric not in trajectories or trajectories[metric].dims != ("step",):
        return []
    steps, values = trajectories["step"].values.astype(float), trajectories[metric].values.astype(float)
    error = trajectories.get(f"{metric}_se")
    errors = np.full(len(steps), np.nan) if error is None else error.values.astype(float)
    keep = np.isfinite(values) & (steps > 0)
    if f"{metric}_flags" in trajectories:
        keep &= ~is_unhealthy(trajectories[f"{metric}_flags"])
    free = keep[keep] if inside is None else inside[keep]
    steps, values, errors = steps[keep], values[keep], errors[keep]
    if len(steps) < FEWEST or np.ptp(values) == 0:
        return []
    smooth = running_median(values, 5)
    noise = np.fmax(local_noise(np.log10(steps), values), errors)
    room = FLAT * np.ptp(smooth) + 2 * EXTREME * OF_FIVE * noise
    found: list[Plateau] = []
    while (best := _longest(np.log10(steps), smooth, room, free)) is not None:
        place = slice(*best)
        free[place] = False
        size = np.sqrt(np.sum(errors[place] ** 2)) / (best[1] - best[0])
        found.append(
            Plateau(float(steps[best[0]]), float(steps[best[1] - 1]), float(np.mean(values[place])), float(size))
        )
    return sorted(found)


def _longest(x: np.ndarray, smooth: np.ndarray, room: np.ndarray, free: np.ndarray) -> tuple[int, int] | None:
    """The longest stretch of free checkpoints [start, stop) that stays within the least room in it."""
    best, length = None, SHORTEST
    for start in range(len(x)):
        taken = np.flatnonzero(~free[start:])
        after = slice(start, start + int(taken[0]) if len(taken) else len(x))
        spread = np.maximum.accumulate(smooth[after]) - np.minimum.accumulate(smooth[after])
        level = spread <= np.minimum.accumulate(room[after])
        stop = start + (int(np.argmin(level)) if not level.all() else len(level))
        if stop - start >= FEWEST and x[stop - 1] - x[start] >= length:
            best, length = (start, stop), float(x[stop - 1] - x[start]) + 1e-12
    return best
