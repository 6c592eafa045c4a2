"""Health of the LLC estimates, for papers: virial, R-hat, effective sample size, headroom, and a few loss traces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from devi.errors import DeviError
from devi.report import palette
from devi.report.canvas import COLUMN, curves, new_figure, shade, step_axis, styled, wrapped
from devi.report.document import records
from devi.report.panels import Panel, Series, is_drawable, units_of
from devi.report.sentences import step_text
from devi.report.step_axis import StepAxis
from devi.transitions.flags import is_unhealthy

TRACES = 4  # checkpoints whose loss traces are shown
TRACE_POINTS = 200  # draws kept of each chain


class Diagnostic(NamedTuple):
    title: str
    limits: tuple[float, ...]  # healthy side or band
    healthy: str


# Limits: 68 sampling runs of known truth; |virial − 1| > 0.10 found every bad one, R-hat > 1.1 alone 60%.
DIAGNOSTICS = {
    "llc_virial": Diagnostic("virial", (0.9, 1.1), "between 0.9 and 1.1"),
    "llc_rhat": Diagnostic("R-hat", (1.1,), "below 1.1"),
    "llc_ess": Diagnostic("effective samples", (), "the more, the smaller the error"),
    "llc_step_bias": Diagnostic("step-size bias", (), "of a quadratic; the estimate is corrected for it"),
    "llc_headroom": Diagnostic(
        "headroom", (), "0 at a minimum; large while training is on its way: information, no error"
    ),
}


def diagnostics(trajectories: xr.Dataset) -> list[tuple[Panel, Diagnostic]]:
    """Panels of the diagnostics that have values."""
    result = []
    for name, diagnostic in DIAGNOSTICS.items():
        variable = trajectories.get(name)
        if variable is None or not is_drawable(variable) or variable.ndim != 1:
            continue
        values = variable.values.astype(float)
        if np.isfinite(values).any():
            panel = Panel(diagnostic.title, units_of(variable), (Series(name, diagnostic.title, values),))
            result.append((panel, diagnostic))
    return result + _from_the_bottom(trajectories)


def _from_the_bottom(trajectories: xr.Dataset) -> list[tuple[Panel, Diagnostic]]:
    """λ̂ beside λ̂ + headroom, the estimate from the bottom of the checkpoint's basin: both are to be read."""
    pair = [trajectories.get(name) for name in ("llc", "llc_headroom")]
    if any(variable is None or variable.dims != ("step",) for variable in pair):
        return []
    values, headroom = (variable.values.astype(float) for variable in pair if variable is not None)
    series = (Series("llc_headroom", "LLC + headroom", values + headroom), Series("llc", "LLC", values))
    return [(Panel("LLC + headroom", "1", series), Diagnostic("", (), "where they part, training is not at a minimum"))]


def trace_steps(trajectories: xr.Dataset, limit: int = TRACES) -> list[int]:
    """Checkpoints whose traces are worth a look: the worst virial, a flagged one, the middle, the last."""
    trace = trajectories.get("llc_trace")
    if trace is None or trace.dims != ("step", "chain", "draw"):
        return []
    alive = np.flatnonzero(np.isfinite(trace.values).any(axis=(1, 2)))
    if not len(alive):
        return []
    wanted = [int(alive[-1]), int(alive[len(alive) // 2])]
    if "llc_virial" in trajectories:
        distance = np.abs(trajectories["llc_virial"].values.astype(float) - 1)
        if np.isfinite(distance).any():
            wanted.insert(0, int(np.nanargmax(distance)))
    if "llc_flags" in trajectories:
        flagged = np.flatnonzero(is_unhealthy(trajectories["llc_flags"]))
        wanted[:0] = [int(flagged[len(flagged) // 2])] if len(flagged) else []
    wanted = [index for index in dict.fromkeys([*wanted, int(alive[0])]) if index in alive]
    return sorted(wanted[:limit])


def thinned(trace: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Every k-th draw of a trace (chain, draw), and their numbers."""
    kept = np.arange(0, trace.sizes["draw"], max(1, trace.sizes["draw"] // TRACE_POINTS))
    return trace.values[:, kept].astype(float), trace["draw"].values[kept]


def trace_label(trace: xr.DataArray) -> str:
    """What a trace holds: the loss in its unit, or, without a unit, n_beta × its excess over the checkpoint's."""
    units = units_of(trace)
    return "nβ·(loss − base)" if units in ("", "1") else f"loss ({units})"


@styled
def health(trajectories: xr.Dataset, transitions: Iterable[Any] = ()) -> Figure:
    """Diagnostics of every checkpoint's estimate on the step axis, and the loss traces of a few checkpoints."""
    found, steps = records(transitions), trajectories["step"].values
    above, traced = diagnostics(trajectories), trace_steps(trajectories)
    if not above and not traced:
        raise DeviError(
            "the figure 'health' has nothing to show: the result has no 'llc_virial', 'llc_rhat' or 'llc_trace'."
            " They come with the metric 'llc'."
        )
    heights = [1.15] * len(above) + [1.0] * len(traced)
    figure = new_figure(COLUMN, 0.6 + sum(heights))
    grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    axis = StepAxis.of(steps)
    for axes, (panel, diagnostic) in zip(grid, above, strict=False):
        curves(axes, axis, steps, panel)
        for limit in diagnostic.limits:
            axes.axhline(limit, color=palette.VERMILION, lw=0.8, ls=(0, (2, 2)))
        step_axis(axes, axis, labelled=panel is above[-1][0])
        shade(axes, axis, found, numbered=True)
    for axes, index in zip(grid[len(above) :], traced, strict=True):
        _trace(axes, trajectories, index, last=index == traced[-1])
    figure.align_ylabels(list(grid))
    return figure


def _trace(axes: Axes, trajectories: xr.Dataset, index: int, *, last: bool) -> None:
    trace = trajectories["llc_trace"]
    values, draws = thinned(trace[index])
    for chain, losses in enumerate(values):
        axes.plot(draws, losses, lw=0.6, color=palette.style(chain).colour)
    axes.set_ylabel(wrapped(trace_label(trace), 10))
    axes.set_title(f"loss along the chains, step {step_text(trajectories['step'].values[index])}", loc="left", pad=2)
    axes.locator_params(axis="y", nbins=3)
    axes.ticklabel_format(axis="y", useOffset=False, style="sci", scilimits=(-3, 4), useMathText=True)
    if last:
        axes.set_xlabel("draw (after burn-in)")
    else:
        axes.tick_params(labelbottom=False)
