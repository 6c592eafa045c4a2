"""Figures for papers: `devi.plot.llc(trajectories, transitions)` returns a matplotlib Figure.

Each takes the `trajectories` of an analysis and its transitions; DeviError if the curves it shows are not there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from string import ascii_lowercase
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from devi.errors import DeviError
from devi.report.canvas import COLUMN, curves, literal, new_figure, shade, step_axis, styled, wrapped
from devi.report.document import records
from devi.report.fourier_figure import fourier
from devi.report.geometry_figure import feature_geometry
from devi.report.health_figure import health
from devi.report.panels import OVERVIEW, Panel, panels
from devi.report.quantity import moved_columns
from devi.report.step_axis import StepAxis
from devi.transitions.transition import Exogenous

MOST_PANELS = 12  # of the figure of everything: a page holds them

__all__ = ["FIGURES", "available", "everything", "feature_geometry", "fourier", "health", "llc", "overview", "tickets"]


@styled
def overview(trajectories: xr.Dataset, transitions: Iterable[Any] = ()) -> Figure:
    """Losses, accuracies, LLC and weight norm, one above the other on one step axis; other scalars if none is there."""
    found = panels(trajectories)
    chosen = [
        panel for panel in found if panel.title in OVERVIEW or panel.series[0].name in ("train_loss", "test_loss")
    ]
    chosen = chosen or [panel for panel in found if not panel.legend][:4]
    return _stacked(trajectories, transitions, _needed(chosen, "overview", "train_loss"))


@styled
def everything(
    trajectories: xr.Dataset, transitions: Iterable[Any] = (), *, exogenous: Exogenous | None = None
) -> Figure:
    """Every curve there is, MOST_PANELS panels at most, one above the other on one step axis.

    exogenous  step -> label of what was done to the run from outside
    """
    found = records(transitions)
    chosen, left_out = _chosen(trajectories, found)
    first, last = trajectories["step"].values[[0, -1]]
    outside = {step: label for step, label in sorted((exogenous or {}).items()) if first <= step <= last}
    figure = _stacked(trajectories, found, _needed(chosen, "everything", "train_loss"), height=1.2, outside=outside)
    declared = zip(ascii_lowercase, outside.items(), strict=False)
    notes = [f"{letter}: {label} at step {step:,}" for letter, (step, label) in declared]
    if left_out:
        notes.append(f"{left_out} more panels are not drawn")
    if notes:
        figure.supxlabel("\n".join(wrapped(literal(note), 60) for note in notes), fontsize=7)
    return figure


def left_out(trajectories: xr.Dataset, transitions: Iterable[Any] = ()) -> int:
    """How many panels `everything` has no place for."""
    return _chosen(trajectories, records(transitions))[1]


def _chosen(trajectories: xr.Dataset, found: list[dict[str, Any]]) -> tuple[list[Panel], int]:
    """MOST_PANELS panels or fewer, where not all have a place those that moved first; how many are left out."""
    every = panels(trajectories, moved_columns(trajectories, found))
    if len(every) > MOST_PANELS:
        moving = {entry["metric"] for one in found for entry in one.get("support") or ()}
        every.sort(key=lambda panel: moving.isdisjoint(series.name for series in panel.series))
    return every[:MOST_PANELS], max(len(every) - MOST_PANELS, 0)


@styled
def llc(trajectories: xr.Dataset, transitions: Iterable[Any] = ()) -> Figure:
    """The local learning coefficient with its error band, above the loss; flagged estimates are hollow."""
    found = {panel.title: panel for panel in panels(trajectories)}
    chosen = [found[title] for title in ("loss", "local learning coefficient") if title in found]
    _needed([panel for panel in chosen if panel.series[0].name == "llc"], "llc", "llc")
    return _stacked(trajectories, transitions, chosen, height=1.6)


@styled
def tickets(trajectories: xr.Dataset, transitions: Iterable[Any] = ()) -> Figure:
    """Overlap of lottery-ticket masks with the previous and the last checkpoint's, and what chance would give."""
    chosen = [panel for panel in panels(trajectories) if panel.series[0].name.startswith("ticket_overlap")]
    return _stacked(trajectories, transitions, _needed(chosen, "tickets", "ticket_overlap_previous"), height=2.0)


FIGURES: dict[str, Callable[..., Figure]] = {
    "overview": overview,
    "llc": llc,
    "feature_geometry": feature_geometry,
    "fourier": fourier,
    "tickets": tickets,
    "health": health,
}
NEEDS = {
    "llc": ("llc",),
    "feature_geometry": ("feature_direction", "feature_norm", "feature_dimensionality"),
    "fourier": ("embedding_spectrum", "unembedding_spectrum"),
    "tickets": ("ticket_overlap_previous", "ticket_overlap_final"),
    "health": ("llc_rhat", "llc_ess", "llc_virial", "llc_trace"),
}


def available(trajectories: xr.Dataset) -> list[str]:
    """The figures that this result has values for."""
    if not panels(trajectories):
        return []
    return [name for name in FIGURES if name not in NEEDS or any(_has(trajectories, need) for need in NEEDS[name])]


def _has(trajectories: xr.Dataset, name: str) -> bool:
    return name in trajectories and bool(np.isfinite(trajectories[name].values.astype(float)).any())


def _stacked(
    trajectories: xr.Dataset,
    transitions: Iterable[Any],
    chosen: list[Panel],
    *,
    height: float = 1.3,
    outside: Collection[float] = (),
) -> Figure:
    """Panels one above the other, the step axis labelled once at the bottom, transitions numbered above each."""
    steps = trajectories["step"].values
    axis, transitions = StepAxis.of(steps), list(transitions)
    figure = new_figure(COLUMN, 0.5 + height * len(chosen) + 0.15 * len(outside))  # a line below for each
    rows = figure.subplots(len(chosen), 1, squeeze=False)[:, 0]
    for row, (axes, panel) in enumerate(zip(rows, chosen, strict=True)):
        curves(axes, axis, steps, panel)
        step_axis(axes, axis, labelled=row == len(chosen) - 1)
        names = {series.name for series in panel.series}
        shade(axes, axis, transitions, numbered=True, metrics=names, outside=outside)
    figure.align_ylabels(list(rows))
    return figure


def _needed(chosen: list[Panel], figure: str, example: str) -> list[Panel]:
    if not chosen:
        raise DeviError(
            f"the figure '{figure}' has nothing to show: the result has no finite values of '{example}' or its like."
            f" What is in it: trajectories.data_vars"
        )
    return chosen
