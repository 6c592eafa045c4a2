"""Which columns of a table are drawn where there is no room for all, and which values need a point of their own."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np


def most_varying(values: np.ndarray, limit: int, *, first: Collection[int] = ()) -> list[int]:
    """Columns of `values` (step, column) with the largest range, at most `limit`, in their own order.

    first  columns that are taken before all others
    """
    finite = np.isfinite(values)
    low, high = np.where(finite, values, np.inf).min(0), np.where(finite, values, -np.inf).max(0)
    drawable = np.flatnonzero(finite.any(0))  # columns without a number are not drawn
    span = np.where(finite.any(0), high - low, 0.0)
    is_first = np.isin(drawable, list(first))
    chosen = _widest(span, drawable[is_first], limit)
    return sorted(chosen + _widest(span, drawable[~is_first], limit - len(chosen)))


def _widest(span: np.ndarray, columns: np.ndarray, count: int) -> list[int]:
    """So many of the columns, those with the largest span; of equal ones some from everywhere, not the first."""
    if len(columns) <= count:
        return columns.tolist()
    if count == 0:
        return []
    least = np.sort(span[columns])[-count]
    equal = np.isclose(span[columns], least, rtol=1e-9, atol=0)
    wider = columns[(span[columns] > least) & ~equal]
    places = np.linspace(0, equal.sum() - 1, count - len(wider)).round().astype(int)
    return wider.tolist() + columns[equal][places].tolist()


def isolated(values: np.ndarray) -> np.ndarray:
    """Which values (step,) have none beside them, so that no line would show them, (step,) bool."""
    there = np.pad(np.isfinite(values), 1)
    return there[1:-1] & ~there[:-2] & ~there[2:]
