"""Interactive geometry for the page: the columns of W, and the spectra, at the step that is looked at."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import xarray as xr

from devi.report import palette
from devi.report.charts import AT_STEP, EXTENT, Data, Spec, finished, number, probe, shading, x_axis
from devi.report.geometry import frequencies, key_frequencies, plane, step_edges
from devi.report.panels import index_labels, units_of, with_units
from devi.report.step_axis import StepAxis

SIDE = 300  # pixels
HEAT_MAP_COLUMNS = 80  # checkpoints in a heat map; more would be thinner than a pixel is worth in file size


def columns_chart(trajectories: xr.Dataset) -> tuple[Spec, str] | None:
    """Columns of W in the plane at one step, and a note on the projection; None if there are none."""
    flat = plane(trajectories)
    if flat is None:
        return None
    steps = trajectories["step"].values
    names = [
        index_labels(trajectories["feature_direction"].transpose("step", "hidden", "feature"))[i] for i in flat.features
    ]
    tables = Data()
    rows = [
        {
            "t": float(step),
            "f": names,
            "x": [number(value) for value in flat.points[i, :, 0]],
            "y": [number(value) for value in flat.points[i, :, 1]],
        }
        for i, step in enumerate(steps)
    ]
    reach = [-flat.reach, flat.reach]
    scale = alt.Scale(domain=reach, nice=False)
    x = alt.X("x:Q", scale=scale, axis=alt.Axis(title=flat.axes[0], tickCount=5))
    y = alt.Y("y:Q", scale=scale, axis=alt.Axis(title=flat.axes[1], tickCount=5))
    colours = [palette.style(place).colour for place in range(len(names))]
    colour = alt.Color("f:N", scale=alt.Scale(domain=names, range=colours), legend=None)
    tooltip = [
        alt.Tooltip("f:N", title="feature"),
        alt.Tooltip("norm:Q", format=".3f"),
        alt.Tooltip("x:Q", format=".3f"),
        alt.Tooltip("y:Q", format=".3f"),
    ]
    tip = f"1 + {0.09 * flat.reach:.6g} / max(datum.norm, {0.01 * flat.reach:.6g})"
    data = (
        tables.chart(rows)
        .transform_filter(AT_STEP)
        .transform_flatten(["f", "x", "y"])
        .transform_filter("isValid(datum.x) && isValid(datum.y)")
        .transform_calculate(norm="sqrt(datum.x * datum.x + datum.y * datum.y)", zero="0")
        .transform_calculate(tx=f"datum.x * ({tip})", ty=f"datum.y * ({tip})")
    )
    labelled = data.transform_filter(f"datum.norm > {0.05 * flat.reach:.6g}")
    layers = [
        tables.chart([{"v": 0}]).mark_rule(color="#dddddd").encode(x=alt.datum(0)),
        tables.chart([{"v": 0}]).mark_rule(color="#dddddd").encode(y=alt.datum(0)),
        data.mark_rule(strokeWidth=2).encode(x=x, y=y, x2="zero:Q", y2="zero:Q", color=colour),
        data.mark_point(filled=True, size=60, opacity=1).encode(x=x, y=y, color=colour, tooltip=tooltip),
        labelled.mark_text(fontSize=11).encode(
            x=alt.X("tx:Q", scale=scale), y=alt.Y("ty:Q", scale=scale), text="f:N", color=colour
        ),
    ]
    return finished(layers, tables, steps, width=SIDE, height=SIDE), flat.note


def spectrum_bars(trajectories: xr.Dataset, name: str) -> Spec:
    """Norm of each frequency at one step; key frequencies of the last checkpoint in another colour."""
    spectrum, steps = trajectories[name], trajectories["step"].values
    values = spectrum.values.astype(float)
    bands = [float(k) for k in frequencies(spectrum)]
    keys = set(key_frequencies(trajectories))
    tables = Data()
    rows = [
        {"t": float(step), "k": bands, "v": [number(v) for v in values[i]], "c": [int(k in keys) for k in bands]}
        for i, step in enumerate(steps)
    ]
    data = tables.chart(rows).transform_filter(AT_STEP).transform_flatten(["k", "v", "c"])
    label = with_units("norm", units_of(spectrum))
    top = float(np.nanmax(np.where(np.isfinite(values), values, np.nan), initial=0)) or 1.0
    bars = data.mark_bar(width={"band": 0.8}).encode(
        x=alt.X(
            "k:O",
            axis=alt.Axis(title="frequency k", labelOverlap="greedy", labelSeparation=4, labelAngle=0, format="d"),
        ),
        y=alt.Y("v:Q", scale=alt.Scale(domain=[0, top]), axis=alt.Axis(title=label, tickCount=4)),
        color=alt.Color("c:N", scale=alt.Scale(domain=[0, 1], range=[palette.SKY, palette.VERMILION]), legend=None),
        tooltip=[alt.Tooltip("k:Q", title="frequency"), alt.Tooltip("v:Q", title=label, format=".4g")],
    )
    return finished([bars], tables, steps, width=SIDE, height=120)


def spectrum_map(trajectories: xr.Dataset, name: str, axis: StepAxis, transitions: list[dict[str, Any]]) -> Spec:
    """Norm of each frequency over training, as a heat map on the shared step axis."""
    spectrum, steps = trajectories[name], trajectories["step"].values
    positions = np.array([axis.position(step) for step in steps])
    chosen = np.unique(np.linspace(0, len(steps) - 1, min(HEAT_MAP_COLUMNS, len(steps))).round().astype(int))
    edges = step_edges(positions[chosen], log=axis.scale == "log").clip(axis.low, axis.high)
    bands = frequencies(spectrum).astype(float)
    values = spectrum.values.astype(float)[chosen]  # (checkpoint, frequency)
    tables = Data()
    rows = [
        {"a": number(edges[i]), "b": number(edges[i + 1]), "k": bands.tolist(), "v": [number(v) for v in values[i]]}
        for i in range(len(chosen))
    ]
    k = alt.Y(
        "k0:Q",
        scale=alt.Scale(domain=[bands.min() - 0.5, bands.max() + 0.5], nice=False),
        axis=alt.Axis(title="frequency k", tickMinStep=1, minExtent=EXTENT, maxExtent=EXTENT),
    )
    legend = alt.Legend(title=with_units("norm", units_of(spectrum)), orient="top", gradientLength=160)
    shades = alt.Scale(scheme="viridis", domainMin=0)
    cells = (
        tables.chart(rows)
        .transform_flatten(["k", "v"])
        .transform_calculate(k0="datum.k - 0.5", k1="datum.k + 0.5")
        .mark_rect(clip=True, strokeWidth=1)
        .encode(
            x=x_axis(axis, "a:Q"),
            x2="b:Q",
            y=k,
            y2="k1:Q",
            stroke=alt.Stroke("v:Q", scale=shades, legend=legend),  # else the page shows through between the cells
            color=alt.Color(
                "v:Q",
                scale=shades,
                legend=legend,
            ),
        )
    )
    marks = [{"k0": float(key)} for key in key_frequencies(trajectories)]
    keys = tables.chart(marks).mark_text(text="◀", fontSize=9, align="right", dx=2).encode(x=alt.value("width"), y=k)
    layers = [cells, *([keys] if marks else []), *shading(tables, axis, transitions, outline=True)]
    layers.extend(probe(tables, axis, steps, colour="white"))
    return finished(layers, tables, steps, height=200)
