"""The Fourier picture of modular addition, for papers: spectra over training, restricted and excluded loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from devi.errors import DeviError
from devi.report.canvas import COLUMN, PAGE, curves, new_figure, shade, step_axis, styled
from devi.report.document import records
from devi.report.geometry import frequencies, key_frequencies, step_edges
from devi.report.panels import panels, units_of, with_units
from devi.report.step_axis import StepAxis

SPECTRA = {"embedding_spectrum": "embedding", "unembedding_spectrum": "unembedding"}


@styled
def fourier(trajectories: xr.Dataset, transitions: Iterable[Any] = ()) -> Figure:
    """Norm of each frequency in the embedding and the output map over training; below, restricted and excluded loss."""
    found, steps = records(transitions), trajectories["step"].values
    spectra = [name for name in SPECTRA if name in trajectories]
    if not spectra:
        raise DeviError(
            "the figure 'fourier' has nothing to show: the result has no 'embedding_spectrum' or"
            " 'unembedding_spectrum'. It is for the task 'modular_addition'."
        )
    losses = [panel for panel in panels(trajectories) if panel.title == "restricted and excluded loss"]
    gini = [panel for panel in panels(trajectories) if panel.title == "Gini coefficient"]
    right = losses + gini
    rows = max(len(spectra), len(right))
    figure = new_figure(PAGE if right else COLUMN, 0.4 + 1.7 * rows)
    parts = figure.subfigures(1, 2 if right else 1, squeeze=False)[0]
    axis = StepAxis.of(steps)
    columns = [list(parts[0].subplots(len(spectra), 1, squeeze=False)[:, 0])]
    for axes, name in zip(columns[0], spectra, strict=True):
        _spectrum(axes, axis, trajectories[name], SPECTRA[name], key_frequencies(trajectories))
    if right:
        columns.append(list(parts[1].subplots(len(right), 1, squeeze=False)[:, 0]))
        for axes, panel in zip(columns[1], right, strict=True):
            curves(axes, axis, steps, panel)
    for number, column in enumerate(columns):
        for axes in column:
            step_axis(axes, axis, labelled=axes is column[-1])
            shade(axes, axis, found, numbered=True, on_colour=number == 0)
        figure.align_ylabels(column)
    return figure


def _spectrum(axes: Axes, axis: StepAxis, spectrum: xr.DataArray, part: str, keys: list[int]) -> None:
    """A heat map (frequency up, step along), key frequencies marked at the right edge."""
    steps, values = spectrum["step"].values, spectrum.values.astype(float)  # (step, frequency)
    positions = np.array([axis.position(step) for step in steps])
    bands = frequencies(spectrum).astype(float)
    cells = np.concatenate([bands - 0.5, [bands[-1] + 0.5]])
    mesh = axes.pcolormesh(
        step_edges(positions, log=axis.scale == "log"), cells, np.ma.masked_invalid(values.T), cmap="viridis",
        rasterized=True, vmin=0,
    )  # fmt: skip
    axes.set_ylabel(f"{part}\nfrequency k")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    for key in keys:
        axes.plot(1.012, key, marker="<", ms=3, color="black", transform=axes.get_yaxis_transform(), clip_on=False)
    label = with_units("norm", units_of(spectrum))
    axes.figure.colorbar(mesh, ax=axes, pad=0.04, aspect=12, label=label)
