"""Which curves are drawn together: the panels of a report, decided from the names, dimensions and units of a result."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from devi.report.selection import most_varying
from devi.transitions.declared import declared
from devi.transitions.flags import is_unhealthy

SERIES_LIMIT = 20  # curves in a panel; the ones that vary most are kept, and the title says so
LOG_RATIO = 30.0  # a positive quantity that spans more than this is drawn on a log axis

TOGETHER: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("loss", ("train_loss", "test_loss")),
    ("accuracy", ("train_accuracy", "test_accuracy")),
    ("local learning coefficient", ("llc", "restricted_llc")),
    ("observed excess loss", ("observed_excess",)),
    ("weight norm", ("weight_norm",)),
    ("feature norm", ("feature_norm",)),
    ("feature dimensionality", ("feature_dimensionality",)),
    (
        "restricted and excluded loss",
        ("restricted_loss", "restricted_loss_train", "restricted_loss_test", "excluded_loss"),
    ),
    ("Gini coefficient", ("gini_embedding", "gini_unembedding")),
    ("mask overlap (Jaccard)", ("ticket_overlap_previous", "ticket_overlap_final", "ticket_overlap_chance")),
)
OVERVIEW = ("loss", "accuracy", "local learning coefficient", "weight norm")
# Drawn by a section of their own (geometry, Fourier, health), or no curves at all.
ELSEWHERE = {
    "feature_direction",
    "embedding_spectrum",
    "unembedding_spectrum",
    "key_frequencies",
    "polygon",
    "llc_trace",
    "llc_flags",
    "llc_rhat",
    "llc_ess",
    "llc_virial",
    "llc_headroom",
    "llc_step_bias",
    "llc_gradients",
    "restricted_llc_flags",
    "restricted_llc_gradients",
    "example_loss",
    "example_draw",
    "ticket_masks",
}
LEVELS = {"feature_dimensionality": (1, 3 / 4, 2 / 3, 1 / 2, 2 / 5, 3 / 8, 1 / 4, 0)}
LEVEL_NAMES = ("1", "3/4", "2/3", "1/2", "2/5", "3/8", "1/4", "0")


@dataclass(frozen=True)
class Series:
    """One curve: `values` (step,), with `error` (step,) where the quantity has a standard error."""

    name: str
    label: str
    values: np.ndarray
    error: np.ndarray | None = None
    flagged: np.ndarray | None = None  # (step,) bool: estimates that their own diagnostics do not support
    is_bounded: bool = False  # on both sides, as a share is


@dataclass(frozen=True)
class Panel:
    """Curves that share one y axis."""

    title: str
    units: str
    series: tuple[Series, ...]
    note: str = ""
    legend: str = ""  # what tells the curves apart ("feature"), when one quantity has many

    @property
    def label(self) -> str:
        """The y axis: the quantity and its unit; "1" is no unit."""
        return with_units(self.title, self.units)

    @property
    def is_known(self) -> bool:
        return any(self.series[0].name in names for _, names in TOGETHER)

    @property
    def has_units(self) -> bool:
        return self.units not in ("", "1")

    @property
    def is_log(self) -> bool:
        """Whether a log axis shows more: positive values that span more than LOG_RATIO."""
        values = np.concatenate([series.values for series in self.series])
        values = values[np.isfinite(values)]
        # Shares and features enter on a linear scale; on a log one the noise of those near 0 fills the panel.
        if (
            self.series[0].is_bounded
            or self.series[0].name in {*LEVELS, "feature_norm"}
            or self.series[0].error is not None
            or not len(values)
        ):
            return False
        return bool(values.min() > 0 and values.max() > LOG_RATIO * values.min())


def log_ticks(low: float, high: float, limit: int = 6) -> list[float]:
    """Ticks of a log axis: powers of 10, every second or third where there are many; 1, 2, 5 where there are few."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    powers = range(first, last + 1)
    if len(powers) >= 3:
        return [10.0**power for power in powers if power % math.ceil(len(powers) / limit) == 0]
    digits = [float(f"{digit}e{power}") for power in range(first - 1, last + 1) for digit in (1, 2, 5)]
    return [tick for tick in digits if low <= tick <= high]


def with_units(title: str, units: str) -> str:
    return title if units in ("", "1") else f"{title} ({units})"


def units_of(variable: xr.DataArray) -> str:
    return str(variable.attrs.get("units", "") or "")


def pretty(name: str) -> str:
    """A metric's name as words: test_loss → test loss, llc → LLC."""
    return " ".join("LLC" if word == "llc" else word for word in name.split("_") if word) or name


def is_drawable(variable: xr.DataArray) -> bool:
    return variable.dims[:1] == ("step",) and variable.ndim <= 2 and variable.dtype.kind in "biuf"


def panels(trajectories: xr.Dataset, moved: Mapping[str, Collection[int]] | None = None) -> list[Panel]:
    """Every panel that the result has curves for: the known groups first, then everything else by itself.

    moved  metric -> columns that a transition moved (quantity.moved_columns): where not all can be drawn, these first
    """
    moved = moved or {}
    result, used = [], set(ELSEWHERE)
    for title, names in TOGETHER:
        present = [name for name in names if name in trajectories and is_drawable(trajectories[name])]
        used.update(present)
        by_units: dict[str, list[str]] = {}
        for name in present:  # two units never share an axis
            by_units.setdefault(units_of(trajectories[name]), []).append(name)
        for units, group in by_units.items():
            several = len(by_units) > 1
            result.append(_panel(trajectories, pretty(group[0]) if several else title, units, group, moved))
    for name in map(str, trajectories.data_vars):
        is_error = name.endswith("_se") and name[:-3] in trajectories
        if name not in used and not is_error and is_drawable(trajectories[name]):
            result.append(_panel(trajectories, pretty(name), units_of(trajectories[name]), [name], moved))
    return [panel for panel in result if any(np.isfinite(series.values).any() for series in panel.series)]


def not_drawn(trajectories: xr.Dataset) -> list[str]:
    """Results that no chart shows, each with the reason."""
    reasons = []
    for name, variable in trajectories.data_vars.items():
        if str(name) in ELSEWHERE:
            continue
        if not is_drawable(variable):
            shape = " × ".join(map(str, variable.dims)) or "no dimension"
            reasons.append(
                f"{name}: {shape} of {variable.dtype}; charts show numbers along step and one more dimension"
            )
        elif not np.isfinite(variable.values.astype(float)).any():
            reasons.append(f"{name}: no finite value at any checkpoint")
    return reasons


def _panel(
    trajectories: xr.Dataset, title: str, units: str, names: list[str], moved: Mapping[str, Collection[int]]
) -> Panel:
    series: list[Series] = []
    note = legend = ""
    for name in names:
        variable = trajectories[name]
        values = variable.values.astype(float)
        known = values[np.isfinite(values)]
        is_bounded = len(known) > 0 and bool(np.isfinite(declared(name, variable, known).bounds).all())
        if variable.ndim == 1:
            series.append(Series(name, pretty(name), values, *_uncertainty(trajectories, name), is_bounded))
            continue
        legend = str(variable.dims[1])
        first = moved.get(name, ())
        kept = most_varying(values, SERIES_LIMIT, first=first)
        if len(kept) == SERIES_LIMIT < values.shape[1]:
            note = f"the {len(kept)} of {values.shape[1]} that vary most"
            if first:
                note = f"{len(kept)} of {values.shape[1]}: those that a transition moves before those that vary most"
        labels = index_labels(variable)
        series.extend(
            Series(name, labels[column], values[:, column], *_uncertainty(trajectories, name, column), is_bounded)
            for column in kept
        )
    words = str(trajectories[names[0]].attrs.get("long_name", "") or "").strip() if len(names) == 1 else ""
    about = words if words.lower() not in {title.lower(), pretty(names[0]).lower(), names[0].lower()} else ""
    return Panel(title, units, tuple(series), "; ".join(text for text in (about, note) if text), legend)


def index_labels(variable: xr.DataArray) -> list[str]:
    """What the second dimension's entries are called: their coordinate, or 0, 1, …"""
    dim = variable.dims[-1]
    entries: Any = variable.coords[dim].values if dim in variable.coords else range(variable.sizes[dim])
    return [str(entry) for entry in entries]


def _uncertainty(
    trajectories: xr.Dataset, name: str, column: int | None = None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Standard error and flags of a curve, each (step,), where it has them."""
    dims = trajectories[name].dims
    beside = [trajectories.get(f"{name}_{word}") for word in ("se", "flags")]
    error, flags = (each if each is None or each.dims == dims else None for each in beside)
    if column is not None:
        error, flags = (None if each is None else each[:, column] for each in (error, flags))
    return (
        None if error is None else error.values.astype(float),
        None if flags is None else is_unhealthy(flags),
    )
