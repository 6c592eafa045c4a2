"""Readable names of metrics and of their columns, and numbers as a sentence shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from devi.transitions.curves import Curve

METRICS = {
    "llc": "LLC",
    "restricted_llc": "LLC",
    "feature_norm": "norm",
    "feature_dimensionality": "dimensionality",
    "restricted_loss_train": "restricted train loss",
    "restricted_loss_test": "restricted test loss",
    "excluded_loss_by_frequency": "excluded loss",
    "gini_embedding": "Gini of the embedding",
    "gini_unembedding": "Gini of the output map",
}


class Column(NamedTuple):
    """number: its whole-number coordinate (frequencies start at 1), else its position. name: as a sentence has it."""

    number: int
    name: str
    dimension: str


def column_of(variable: xr.DataArray, position: int) -> Column:
    """The column at `position` of a variable (step, column)."""
    dimension = next(str(dim) for dim in variable.dims if dim != "step")
    if dimension not in variable.coords:
        return Column(position, str(position), dimension)
    entry = variable.coords[dimension].values[position]
    return Column(int(entry) if isinstance(entry, np.integer) else position, str(entry), dimension)


def name_of(curve: Curve, trajectories: xr.Dataset) -> str:
    """test loss · LLC · norm of feature 0 · ticket density of embed.weight.

    mode strength 0, where what its columns are has no word or is said already.
    """
    word = METRICS.get(curve.metric, curve.metric.replace("_", " "))
    if curve.index is None:
        return word
    column = column_of(trajectories[curve.metric], curve.index)
    if column.dimension in ("parameter", "restriction"):
        return f"{word} of {column.name}"
    if column.dimension in (f"{curve.metric}_axis0", word.split()[0]):
        return f"{word} {column.name}"
    return f"{word} of {column.dimension} {column.name}"


def listed(words: Sequence[str]) -> str:
    """a · a and b · a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def number(value: float) -> str:
    """Two decimals or three digits, thousands separated."""
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 0.01:
        return f"{value:.2f}"
    return f"{value:.1e}"


def with_error(value: float, error: float) -> str:
    """249 ± 1 · 5.21 ± 0.08 · 0.5: the value to the decimals of its error, one significant digit of it."""
    if not np.isfinite(error) or error <= 0:
        return number(value)
    decimals = int(np.clip(-np.floor(np.log10(error)), 0, 4))
    return f"{value:,.{decimals}f} ± {error:,.{decimals}f}"
