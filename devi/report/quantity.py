"""One quantity of a run as a report reads it: its column, its name, its values around a transition."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from devi.report.panels import index_labels, pretty
from devi.transitions.levels import around, nearest


class Reading(NamedTuple):
    """A value at one checkpoint; error is NaN where there is none."""

    step: float
    value: float
    error: float


def readings(
    trajectories: xr.Dataset, metric: str, index: int | None, onset: float, end: float, *, returns: str = ""
) -> list[Reading]:
    """The last finite value at or before `onset` and the first at or after `end`; [] when either is missing.

    returns  of a transient: "up" or "down", where it goes before it comes back; its furthest value stands between
    """
    variable = column(trajectories.get(metric), index)
    if variable is None:
        return []
    steps, values = trajectories["step"].values.astype(float), variable.values.astype(float)
    error = column(trajectories.get(f"{metric}_se"), index)
    errors = np.full_like(values, np.nan) if error is None else error.values.astype(float)
    known = np.flatnonzero(np.isfinite(values) & (steps > 0))
    places = around(steps[known], onset, end)
    if places is None:
        return []
    first, last = places
    told = [first, last]
    if returns:
        sign = 1.0 if returns == "up" else -1.0
        told.insert(1, first + int(np.argmax(sign * values[known][first : last + 1])))
    return [Reading(float(steps[i]), float(values[i]), float(errors[i])) for i in known[told]]


def own_ends(trajectories: xr.Dataset, metric: str, index: int | None, onset: float, end: float) -> str:
    """' from step 130' of a curve without a value at the checkpoint before `onset`, ' to step 700' likewise after.

    A dimensionality, for instance, begins once its feature is large enough.
    """
    variable = column(trajectories.get(metric), index)
    if variable is None:
        return ""
    steps = trajectories["step"].values.astype(float)
    known = np.isfinite(variable.values.astype(float)) & (steps > 0)
    if not known.any():
        return ""
    own, expected = (some[list(nearest(some, onset, end))] for some in (steps[known], steps[steps > 0]))
    both = zip(("from", "to"), own, expected, strict=True)
    return "".join(f" {word} step {at:,.10g}" for word, at, other in both if at != other)


def moved_columns(trajectories: xr.Dataset, transitions: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Metric -> columns that support some transition."""
    found: dict[str, list[int]] = {}
    for entry in (entry for one in transitions for entry in one.get("support", [])):
        variable, index = trajectories.get(entry["metric"]), entry.get("index")
        place = None if variable is None or variable.ndim != 2 or index is None else position(variable, int(index))
        if place is not None:
            found.setdefault(entry["metric"], []).append(place)
    return found


def is_count(variable: xr.DataArray) -> bool:
    """Whether all values are whole numbers: 3 features, not 3.00."""
    return is_whole(variable.values.astype(float))


def is_whole(values: np.ndarray) -> bool:
    """Whether all that are finite are whole numbers."""
    return bool((values[np.isfinite(values)] % 1 == 0).all())


def decimals_of(metric: str, values: np.ndarray) -> int | None:
    """0 of counts; None of other values, also of losses and accuracies that happen to be 0 or 1."""
    return 0 if is_whole(values) and not metric.endswith(("loss", "accuracy")) else None


def column(variable: xr.DataArray | None, index: int | None) -> xr.DataArray | None:
    """One curve (step,) of a numeric variable, or None if there is no such curve."""
    if variable is None or variable.dtype.kind not in "biuf" or variable.dims[:1] != ("step",):
        return None
    if variable.ndim == 1:
        return variable
    place = None if variable.ndim > 2 or index is None else position(variable, int(index))
    return None if place is None else variable[:, place]


def position(variable: xr.DataArray, index: int) -> int | None:
    """Column that a transition's `index` names: the one of that coordinate value if these are whole numbers."""
    dim = variable.dims[1]
    if dim in variable.coords and variable.coords[dim].dtype.kind in "iu":
        found = np.flatnonzero(variable.coords[dim].values == index)
        return int(found[0]) if len(found) else None
    return index if 0 <= index < variable.shape[1] else None


def quantity(trajectories: xr.Dataset, metric: str, index: int | None) -> str:
    """test accuracy · feature norm (feature 3)."""
    if index is None:
        return pretty(metric)
    dim, name = entry_name(trajectories, metric, index)
    return f"{pretty(metric)} ({dim} {name})"


def shown_key(trajectories: xr.Dataset, key: str) -> str:
    """'ticket_density[embed.weight]' of a stage's key 'ticket_density[0]', as a transition's support is shown."""
    metric, bracket, index = key.removesuffix("]").rpartition("[")
    is_column = bracket and metric in trajectories and index.isdecimal()
    return f"{metric}[{entry_name(trajectories, metric, int(index))[1]}]" if is_column else key


def entry_name(trajectories: xr.Dataset, metric: str, index: int) -> tuple[str, str]:
    """(dimension, label) of the column that a transition's `index` names: frequency 1, or a parameter's name."""
    variable = trajectories.get(metric)
    place = None if variable is None or variable.ndim < 2 else position(variable, int(index))
    if variable is None or place is None:
        return "entry", str(index)
    return str(variable.dims[1]), index_labels(variable)[place]
