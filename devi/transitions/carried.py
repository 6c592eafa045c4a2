"""Carried forward: a value repeated on every row until the next evaluation, which is one measurement and not many.

Such a staircase has a jump at each evaluation and no noise between them. Evaluations keep a rhythm, so that hardly a
stretch of equal values is shorter than the usual one; of values that were rounded, or that stay at their bound, the
stretches end by chance, and of those a third and more are shorter. Counts repeat for other reasons: they are left.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from devi.transitions.curves import checked_steps

FEWEST = 8  # stretches that lie between two others: fewer may be alike by chance
SHORT = 0.8  # of the usual stretch: what is shorter is out of step
MOST_SHORT = 0.05  # of the stretches
UNIT = 1.5  # times the least change: where half of the changes are no larger, a smooth curve was rounded to that
LATE = 1.3  # usual stretches: a longer one has been measured again, with the same result


def without_carried(trajectories: xr.Dataset) -> tuple[xr.Dataset, list[str]]:
    """The variables with NaN for what was only carried forward, and a sentence that says of which.

    Raises DeviError for steps that do not increase.
    """
    steps = checked_steps(trajectories)
    changed: dict[str, xr.DataArray] = {}
    for name, variable in trajectories.data_vars.items():
        if variable.dtype.kind != "f" or variable.dims[:1] != ("step",) or not variable.size:
            continue
        values = variable.values.reshape(len(steps), -1).copy()
        for column in values.T:
            known = np.flatnonzero(np.isfinite(column))
            column[known[~measured(steps[known], column[known])]] = np.nan
        if np.isnan(values).sum() > variable.isnull().sum():
            changed[str(name)] = variable.copy(data=values.reshape(variable.shape))
    told = [
        f"{', '.join(changed)}: values are repeated from one evaluation to the next; only the first of each stretch is"
        " searched."
    ]
    return (trajectories.assign(changed), told) if changed else (trajectories, [])


def measured(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which values (n,) were measured at their own step: all, unless they are plainly carried forward."""
    everything = np.ones(len(values), dtype=bool)
    begins = np.append(True, values[1:] != values[:-1])[: len(values)]
    first = np.flatnonzero(begins)
    if len(first) < FEWEST + 2 or np.median(np.diff(first)) < 2 or np.all(values == np.round(values)):
        return everything
    sizes = np.abs(np.diff(values[first] / 2))  # halves, for the largest numbers have no difference
    if np.median(sizes) < UNIT * np.min(sizes):
        return everything
    inside = np.repeat(first, np.diff(np.append(first, len(values))))  # the row on which each row's stretch begins
    rows = np.arange(len(values), dtype=float)
    for clock in (rows, steps, np.log10(np.maximum(steps, 0.5))):  # evaluations keep time by one of these
        lengths = np.diff(clock[first])[1:]
        usual = float(np.median(lengths))
        if np.mean(lengths < SHORT * usual) <= MOST_SHORT:
            turn = np.maximum(np.floor((clock - clock[inside]) / usual - (LATE - 1)), 0)
            return begins | (np.diff(turn, prepend=0) > 0)
    return everything
