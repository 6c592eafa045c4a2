"""The loss along the chains of one checkpoint, for the page."""

from __future__ import annotations

import altair as alt
import xarray as xr

from devi.report import palette
from devi.report.charts import Data, Spec, finished, number
from devi.report.health_figure import thinned, trace_label


def trace_chart(trajectories: xr.Dataset, index: int) -> Spec:
    """One line a chain; draws thinned to what a screen can show."""
    trace = trajectories["llc_trace"]
    values, draws = thinned(trace[index])
    names = [str(chain) for chain in range(len(values))]
    rows = [
        {"c": name, "d": draws.tolist(), "v": [number(loss) for loss in losses]}
        for name, losses in zip(names, values, strict=True)
    ]
    colours = [palette.style(chain).colour for chain in range(len(names))]
    tables = Data()
    lines = (
        tables.chart(rows)
        .transform_flatten(["d", "v"])
        .mark_line(strokeWidth=0.9)
        .encode(
            x=alt.X(
                "d:Q", axis=alt.Axis(title="draw (after burn-in)", grid=False, format="d"), scale=alt.Scale(nice=False)
            ),
            y=alt.Y(
                "v:Q",
                scale=alt.Scale(zero=False),
                axis=alt.Axis(title=trace_label(trace), tickCount=4, minExtent=44, gridOpacity=0.5),
            ),
            color=alt.Color("c:N", scale=alt.Scale(domain=names, range=colours), legend=None),
        )
    )
    return finished([lines], tables, trajectories["step"].values, height=110)
