"""Declared: what a metric says of itself in its attributes, checked before anything is made of it."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import xarray as xr

from devi.errors import DeviError, shown

MATERIAL = {"nats": 0.02, "accuracy": 0.02}  # smaller changes are no structure; only for metrics that declare a unit
MATERIAL_SHARE = {"squared error": 0.02}  # the same, of the values' median: no size of a squared error is known
ACCURACY = re.compile(r"(?<!in)accuracy$", re.IGNORECASE)
DIRECTIONS = {"": 0, "up": 1, "down": -1}


class Declared(NamedTuple):
    """What is known of a metric without looking at how it moved.

    material  a smaller change is no change of structure, in the metric's unit; 0 if it declares neither that nor a unit
    is_own    whether the metric declares it itself
    bounds    values beyond which it cannot go; infinite if none are known
    monotone  1 or -1 for one that only rises or only falls; else 0
    """

    material: float
    is_own: bool
    bounds: tuple[float, float]
    monotone: int


def declared(name: str, variable: xr.DataArray, values: np.ndarray) -> Declared:
    """Of a variable with the finite values `values`. Raises DeviError for an attribute that says nothing."""
    direction = str(variable.attrs.get("monotone") or "")
    if direction not in DIRECTIONS:
        raise DeviError(f"metric {name}: monotone is {shown(repr(direction))}; expected 'up' or 'down', or none.")
    own = variable.attrs.get("material")
    if own is not None:
        material = _number(name, "material", own, "a size of 0 or more in the metric's unit")
        if not 0 <= material < np.inf:
            raise DeviError(f"metric {name}: material is {material:g}; expected a size of 0 or more.")
    else:
        material = _material_of_unit(name, variable, values)
    return Declared(material, own is not None, _bounds(name, variable, values), DIRECTIONS[direction])


def _material_of_unit(name: str, variable: xr.DataArray, values: np.ndarray) -> float:
    units = "accuracy" if _is_accuracy(name, values) else str(variable.attrs.get("units"))
    return max(MATERIAL.get(units, 0.0), MATERIAL_SHARE.get(units, 0.0) * float(np.median(np.abs(values))))


def _is_accuracy(name: str, values: np.ndarray) -> bool:
    """Whether a metric is an accuracy by its name, and not the logarithm of one by its values, nor an inaccuracy."""
    return ACCURACY.search(name) is not None and bool(np.min(values, initial=0.0) > -1e-6)


def _bounds(name: str, variable: xr.DataArray, values: np.ndarray) -> tuple[float, float]:
    """The attribute `bounds`, or CF's valid_min and valid_max; an accuracy's by its name, in per cent if it is."""
    given = variable.attrs.get("bounds")
    if given is None or isinstance(given, str):  # to CF the name of another variable
        given = [variable.attrs[key] for key in ("valid_min", "valid_max") if key in variable.attrs]
        if len(given) < 2:
            if _is_accuracy(name, values):
                return 0.0, 1.0 if np.max(values) <= 1.5 else 100.0
            return -np.inf, np.inf
    limits = [*given] if isinstance(given, tuple | list) else np.atleast_1d(given).tolist()
    if len(limits) == 2:  # None on one side: there is no bound
        limits = [end if one is None else one for one, end in zip(limits, (-np.inf, np.inf), strict=True)]
    pair = [_number(name, "bounds", each, "two numbers, (low, high)") for each in limits]
    if len(pair) != 2 or not pair[0] < pair[1]:
        raise DeviError(
            f"metric {name}: its bounds are {shown(str(pair))}; expected (low, high) that increase, infinite where"
            " there is none."
        )
    return pair[0], pair[1]


def _number(name: str, what: str, value: object, expected: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DeviError(f"metric {name}: {what} has {shown(repr(value))}; expected {expected}.") from None
