"""The geometry of superposition, for papers: columns of W after each transition, feature norms, dimensionalities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from devi.errors import DeviError
from devi.report import palette
from devi.report.canvas import PAGE, curves, new_figure, shade, step_axis, styled, wrapped
from devi.report.document import records
from devi.report.geometry import Plane, plane, snapshots
from devi.report.panels import LEVEL_NAMES, LEVELS, Panel, panels
from devi.report.sentences import step_text
from devi.report.step_axis import StepAxis


@styled
def feature_geometry(trajectories: xr.Dataset, transitions: Iterable[Any] = ()) -> Figure:
    """Columns of W in the plane after each transition; below, feature norms and dimensionalities over training."""
    found, steps = records(transitions), trajectories["step"].values
    flat = plane(trajectories)
    below = [p for p in panels(trajectories) if p.series[0].name in ("feature_norm", "feature_dimensionality")]
    if flat is None and not below:
        raise DeviError(
            "the figure 'feature_geometry' has nothing to show: the result has no 'feature_direction',"
            " 'feature_norm' or 'feature_dimensionality'. It is for the task 'superposition'."
        )
    shown = snapshots(steps, [transition["end"] for transition in found]) if flat else []
    heights = ([2.7 if flat.note else 2.2] if flat else []) + ([0.3 + 1.6 * len(below)] if below else [])
    figure = new_figure(PAGE, sum(heights))
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(h_pad=0.08)  # type: ignore[call-arg]  # the titles of the topmost axes else touch the edge
    parts = list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    if flat:
        part = parts.pop(0)
        part.supxlabel(wrapped(flat.note, 120), fontsize=7)
        row = part.subplots(1, len(shown), squeeze=False)[0]
        for axes, index in zip(row, shown, strict=True):
            _columns(axes, flat, index, step_text(steps[index]), first=axes is row[0])
    if below:
        _over_training(parts[0], trajectories, below, found)
    return figure


def _over_training(part: SubFigure, trajectories: xr.Dataset, below: list[Panel], found: list[dict[str, Any]]) -> None:
    """Norms and dimensionalities of the features, one above the other on one step axis."""
    steps = trajectories["step"].values
    axis = StepAxis.of(steps)
    rows = part.subplots(len(below), 1, squeeze=False)[:, 0]
    for row, (axes, panel) in enumerate(zip(rows, below, strict=True)):
        if panel.series[0].name in LEVELS:
            _levels(axes, panel.series[0].name)
        curves(axes, axis, steps, panel, legend=False)
        axes.legend(
            loc="center left", bbox_to_anchor=(1.06, 0.5), title=panel.legend or None, title_fontsize=7,
            ncols=1 if len(panel.series) <= 9 else 2, handlelength=2.2, labelspacing=0.25, columnspacing=0.8,
        )  # fmt: skip
        step_axis(axes, axis, labelled=row == len(rows) - 1)
        shade(axes, axis, found, numbered=True)


def _levels(axes: Axes, name: str) -> None:
    """The dimensionalities that regular arrangements of features have, named at the right edge."""
    for place, (level, text) in enumerate(zip(LEVELS[name], LEVEL_NAMES, strict=True)):
        axes.axhline(level, color=palette.GUIDE, lw=0.5, ls=(0, (1, 2)), zorder=0)
        # In two columns: 2/5 and 3/8 would overprint each other in one.
        axes.annotate(
            text, (1.005 + 0.028 * (place % 2), level), xycoords=("axes fraction", "data"), va="center", fontsize=6,
            color=palette.GUIDE, annotation_clip=False,
        )  # fmt: skip


def _columns(axes: Axes, flat: Plane, index: int, step: str, *, first: bool) -> None:
    """The columns of W at one checkpoint: an arrow from the origin and the feature's number at its tip."""
    for place, feature in enumerate(flat.features):
        x, y = flat.points[index, place]
        if not np.isfinite([x, y]).all():
            continue
        colour = palette.style(place).colour
        axes.plot([0, x], [0, y], color=colour, lw=1.1, solid_capstyle="round")
        axes.plot(x, y, marker=palette.style(place).marker, ms=4, color=colour)
        length = float(np.hypot(x, y))
        if length > 0.12 * flat.reach:  # numbers of features near the origin would only overprint each other
            tip = 1 + 0.15 * flat.reach / length
            axes.text(x * tip, y * tip, str(feature), ha="center", va="center", fontsize=7, color=colour)
    axes.set_aspect("equal")
    axes.set(xlim=(-flat.reach * 1.1, flat.reach * 1.1), ylim=(-flat.reach * 1.1, flat.reach * 1.1))
    axes.set_title(f"step {step}", pad=5)
    axes.locator_params(nbins=3)
    axes.set_xlabel(flat.axes[0])
    if first:
        axes.set_ylabel(flat.axes[1])
    else:
        axes.tick_params(labelleft=False)
