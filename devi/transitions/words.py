"""Readable names of metrics and of their columns, and numbers as a sentence shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import xarray as xr

from devi.transitions.curves import Curve

MOST_DIGITS = 14  # a double has no more
LARGE = 1e9  # values from here on are written with an exponent
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
    return name_at(curve.metric, curve.index, trajectories)


def name_at(metric: str, position: int | None, trajectories: xr.Dataset) -> str:
    """`name_of` a metric, or of one column of it."""
    word = METRICS.get(metric, metric.replace("_", " "))
    if position is None:
        return word
    column = column_of(trajectories[metric], position)
    if column.dimension in ("parameter", "restriction"):
        return f"{word} of {column.name}"
    if column.dimension in (f"{metric}_axis0", word.split()[0]):
        return f"{word} {column.name}"
    return f"{word} of {column.dimension} {column.name}"


def listed(words: Sequence[str]) -> str:
    """a · a and b · a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def number(value: float, more: int = 0) -> str:
    """Two decimals or three digits, and `more`; thousands separated; a true minus sign, as on the report's page."""
    return with_minus(_number(value, more))


def _number(value: float, more: int) -> str:
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    size = abs(value)
    if not 0.01 <= size < LARGE:
        return f"{value:.{1 + more}e}"
    return f"{value:,.{(0 if size >= 100 else 1 if size >= 10 else 2) + more}f}"


def with_minus(text: str) -> str:
    """A number with a true minus sign before it, which is as wide as a plus; that of an exponent stays. 0 has none."""
    if not text.startswith("-"):
        return text
    return ("−" if text.partition(" ")[0].strip("-0.,") else "") + text[1:]


def with_error(value: float, error: float, more: int = 0) -> str:
    """249 ± 1 · 5.21 ± 0.08 · 0.5: the value to the decimals of its error, one significant digit of it, and `more`."""
    if not np.isfinite(error) or error <= 0:
        return number(value, more)
    if max(abs(value), error) >= LARGE:
        return with_minus(f"{value:.{1 + more}e} ± {error:.0e}")
    decimals = int(np.clip(-np.floor(np.log10(error)), 0, 4)) + more
    return with_minus(f"{value:,.{decimals}f} ± {error:,.{decimals}f}")


def told_apart(texts: Callable[[int], list[str]]) -> list[str]:
    """The texts of values that follow each other, with as many more digits as it takes to see that they differ.

    texts  of the number of digits more than usual
    """
    for more in range(MOST_DIGITS):
        told = texts(more)
        if all(one.partition(" ")[0] != other.partition(" ")[0] for one, other in pairwise(told)):
            return told
    return texts(0)


def from_to(before: float, after: float) -> str:
    """12.4 → 7.72"""
    return " → ".join(told_apart(lambda more: [number(value, more) for value in (before, after)]))


def step_text(step: float, steps: np.ndarray) -> str:
    """1,090 · 0.0312: a step between checkpoints, to the digit that tells the two beside it apart.

    steps  (n,) of the checkpoints, increasing, two or more
    """
    after = int(np.clip(np.searchsorted(steps, step), 1, len(steps) - 1))
    decimals = int(np.ceil(-np.log10(float(steps[after]) - float(steps[after - 1])) - 1e-9))
    return f"{step:,.{max(decimals, 0)}f}" if decimals <= 6 else f"{step:.3g}"
