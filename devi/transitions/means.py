"""Means: a table of many rows as means over bins that are even in log10(step), which is the axis of the search.

A search takes time and memory with the square of the rows, and a loss logged at every step has 10^5 of them, nine in
ten in the last decade. Bins are as fine as leaves MOST rows; where rows are sparser than bins, early on, each stays
alone.

    step = geometric mean of the bin's steps     value = mean of its finite values     error = sqrt(sum of se²) / number
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from devi.transitions.curves import GRAIN, NOISE, checked_steps
from devi.transitions.noise import grain, lasting, local_noise, without_outliers

MOST = 1500  # rows: 2,000 take about twice the time and memory, and date a step no better (by hand)


def averaged(trajectories: xr.Dataset) -> tuple[xr.Dataset, list[str]]:
    """The same variables on MOST rows or fewer, and a sentence that says so; the Dataset itself if it has no more.

    Single outliers are replaced before, as in a curve of few rows: a mean would spread them. Of labels, and of what is
    no number, the first in each bin. Raises DeviError for steps that do not increase.
    """
    steps = checked_steps(trajectories)
    if len(steps) <= MOST:
        return trajectories, []
    first = _bins(steps)
    counts = np.diff(np.append(first, len(steps)))
    x = np.log10(np.maximum(steps, 1e-300))
    middle = np.where(counts == 1, steps[first], 10 ** (np.add.reduceat(x, first) / counts))
    if np.all(steps == np.round(steps)):  # a whole number between the first and the last of the bin
        middle = np.round(middle).astype(int)
    data = {str(name): _mean(trajectories, str(name), first) for name in trajectories.data_vars}
    others = {name: one for name, one in trajectories.coords.items() if "step" not in one.dims}
    told = f"{len(steps):,} rows are searched as {len(first):,} means, even in log10(step)."
    return xr.Dataset(data, coords={**others, "step": middle}, attrs=trajectories.attrs), [told]


def _bins(steps: np.ndarray) -> np.ndarray:
    """The first row of each bin, of the finest even ones that leave MOST rows; what comes before step 1 stays alone."""
    early = int(np.sum(steps <= 0))
    x = np.log10(steps[early:])
    coarse, fine = 0.0, len(steps) / float(np.ptp(x))  # bins a decade
    for _ in range(40):
        density = (coarse + fine) / 2
        coarse, fine = (density, fine) if early + len(_starts(x, density)) <= MOST else (coarse, density)
    return np.concatenate([np.arange(early), early + _starts(x, coarse)])


def _starts(x: np.ndarray, density: float) -> np.ndarray:
    return np.flatnonzero(np.diff(np.floor((x - x[0]) * density), prepend=-1.0))


def _mean(trajectories: xr.Dataset, name: str, first: np.ndarray) -> xr.DataArray:
    variable = trajectories[name]
    if "step" not in variable.dims:
        return variable
    variable = variable.transpose("step", ...)
    if variable.dtype.kind not in "fiub" or variable.attrs.get("labels"):
        return variable.isel(step=first).drop_vars("step")
    values = variable.values.astype(float)
    table = values.reshape(len(values), values[0].size)  # (step, column)
    parent = name.removesuffix("_se")
    if parent != name and parent in trajectories:
        of = np.isfinite(trajectories[parent].transpose("step", ...).values.astype(float)).reshape(len(table), -1)
        known = _sums(np.isfinite(table), first)
        square = _sums(np.where(np.isfinite(table), table, 0.0) ** 2, first) / np.where(known > 0, known, np.nan)
        result = np.sqrt(square / np.maximum(_sums(of, first) if of.shape == table.shape else known, 1))
        attributes = dict(variable.attrs)
    else:
        attributes = {**variable.attrs, GRAIN: [grain(column[np.isfinite(column)]) for column in table.T]}
        for j in range(table.shape[1]):
            table[:, j] = _calm(table[:, j])
        known = _sums(np.isfinite(table), first)
        result = _sums(np.where(np.isfinite(table), table, 0.0), first) / np.where(known > 0, known, np.nan)
        attributes[NOISE] = np.stack([_noise(column, first) for column in table.T], axis=1) if table.size else table
    return xr.DataArray(result.reshape(len(first), *values.shape[1:]), dims=variable.dims, attrs=attributes)


def _sums(table: np.ndarray, first: np.ndarray) -> np.ndarray:
    return np.asarray(np.add.reduceat(table.astype(float), first, axis=0))


def _noise(column: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Standard deviation of the mean of each bin, (bin,): that of one row, or what is left of it by averaging.

    Noise that lasts for some rows is gone from late means, while early rows, alone, are nothing but it; seen from its
    neighbours it would be taken for change there.
    """
    finite = np.isfinite(column)
    if finite.sum() < MOST:
        return np.zeros(len(first))
    y = column[finite]
    variance, time = lasting(y)
    square = np.zeros(len(column))
    square[finite] = variance * local_noise(np.arange(len(y), dtype=float), y) ** 2
    known = np.maximum(np.add.reduceat(finite.astype(float), first), 1)
    return np.asarray(np.sqrt(np.add.reduceat(square, first) / known * np.minimum(time / known, 1)))


def _calm(column: np.ndarray) -> np.ndarray:
    finite = np.isfinite(column)
    if finite.sum() < 7:
        return column
    result = column.copy()
    result[finite] = without_outliers(column[finite])
    return result
