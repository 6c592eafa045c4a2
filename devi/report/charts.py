"""Interactive curves for the page: one Altair chart a panel, all of them following one step.

Each chart has a parameter `step`, the step that is looked at, and a selection `near`, the checkpoint nearest to the
pointer. The page sets `step` in every chart to whatever `near` is in the one that the pointer is over.
"""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import numpy as np

from devi.report import palette
from devi.report.panels import LEVEL_NAMES, LEVELS, Panel, log_ticks
from devi.report.quantity import decimals_of
from devi.report.selection import isolated
from devi.report.sentences import value_text
from devi.report.step_axis import TITLE, StepAxis
from devi.transitions.words import MOST_DIGITS

HEIGHT = 170
EXTENT = 68  # pixels that the labels of a height may take, the same in all charts: '-0.001062' and '-1.062e-5' fit
DIGIT = 6.5  # pixels, where labels of 7 digits or more need more than that
TITLE_LETTERS = 30  # of a y axis: as many as a chart is high
ROW = 520  # pixels that a row of a legend may take: two charts stand side by side
ROW_OF_NUMBERS = 12  # pixels, from one row of transitions' numbers to the next
DIGITS = 5  # significant digits that are written into the page, where values vary by a tenth of their size or more
READINGS_LIMIT = 8  # curves whose values are written out above a chart
AT_STEP = "datum.t == step"
CONFIG = {
    "font": "system-ui, Segoe UI, Liberation Sans, DejaVu Sans, sans-serif",
    "view": {"stroke": None},
    "axis": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"},
    "legend": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "symbolStrokeWidth": 2},
}
Spec = dict[str, Any]


def curve_chart(
    panel: Panel, axis: StepAxis, steps: np.ndarray, transitions: list[dict[str, Any]], *, rules: tuple[float, ...] = ()
) -> Spec:
    """The Vega-Lite spec of one panel: shaded transitions, error bands, curves, and a rule at the step looked at.

    rules  heights of horizontal reference lines (limits of a diagnostic)
    """
    labels = [series.label for series in panel.series]
    styles = [palette.style(index) for index in range(len(labels))]
    several = len(labels) > 1
    data = Data()
    legend = legend_of(panel, max(_rows_of_numbers(axis, transitions), default=0)) if several else None
    colour = alt.Color(
        "s:N", scale=alt.Scale(domain=labels, range=[look.colour for look in styles]), sort=None, legend=legend
    )
    dash = alt.StrokeDash(
        "s:N", scale=alt.Scale(domain=labels, range=[list(look.dash) or [1, 0] for look in styles]), legend=legend
    )
    y = y_axis(panel)
    x = x_axis(axis)
    rows = _rows(panel, steps)
    points = placed(data.chart(rows).transform_flatten(["t", "v", "l", "h", "f", "o"]), axis)
    layers = [*shading(data, axis, transitions), *_levels(data, panel, rules)]
    has_errors = any(series.error is not None for series in panel.series)
    if has_errors:
        band = points.transform_filter("isValid(datum.l) && isValid(datum.h)")
        layers.append(band.mark_area(opacity=0.22).encode(x=x, y=alt.Y("l:Q"), y2="h:Q", color=colour))
    if any(any(row["o"]) for row in rows):  # a line of one point is invisible
        lone = points.transform_filter("datum.o == 1")
        if has_errors:  # and so is its band
            bar = lone.transform_filter("isValid(datum.l) && isValid(datum.h)")
            layers.append(bar.mark_rule(strokeWidth=1.4).encode(x=x, y=alt.Y("l:Q"), y2="h:Q", color=colour))
        layers.append(lone.mark_point(filled=True, size=40).encode(x=x, y=y, color=colour))
    layers.append(points.mark_line(strokeWidth=1.6, clip=True).encode(x=x, y=y, color=colour, strokeDash=dash))
    now = points.transform_filter(AT_STEP).transform_filter("isValid(datum.v)")
    layers.append(now.mark_point(size=36, filled=True, opacity=1).encode(x=x, y=y, color=colour))
    # Last, so that the step looked at leaves it hollow.
    if any(series.flagged is not None and series.flagged.any() for series in panel.series):
        flagged = points.transform_filter("datum.f == 1")
        layers.append(
            flagged.mark_point(size=36, fill="white", opacity=1, strokeWidth=1.4).encode(x=x, y=y, color=colour)
        )
    layers.extend(probe(data, axis, steps))
    return finished(layers, data, steps)


def legend_of(panel: Panel, rows: int) -> alt.Legend:
    """As many names a row as fit beside each other, above the numbers of transitions and `rows` more of them."""
    columns = max(1, int(ROW / (45 + 6 * max(len(series.label) for series in panel.series))))
    return alt.Legend(
        title=panel.legend or None,
        orient="top",
        columns=columns,
        offset=18 + ROW_OF_NUMBERS * rows,
        labelLimit=ROW - EXTENT,  # names of parameters differ at their ends
        symbolType="stroke",
        symbolSize=500,
        symbolOpacity=1,
    )


class Data:
    """The tables of one chart. They are added to its spec at the end: Altair copies a spec's inline data many times."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Spec]] = {}

    def chart(self, rows: list[Spec]) -> alt.Chart:
        name = f"table{len(self.tables)}"
        self.tables[name] = rows
        return alt.Chart(alt.NamedData(name=name))


def finished(
    layers: list[alt.Chart], data: Data, steps: np.ndarray, *, width: Any = "container", height: int = HEIGHT
) -> Spec:
    """The chart as a spec, with its parameter `step` set to the last checkpoint."""
    start = alt.param(name="step", value=float(steps[-1]))
    chart = alt.layer(*layers, width=width, height=height, config=CONFIG).add_params(start)
    # Checked against the schema by the tests: to do so for every report took a third of the time of its charts.
    return chart.to_dict(validate=False) | {"datasets": data.tables}


def placed(chart: alt.Chart, axis: StepAxis) -> alt.Chart:
    """With x, where each step t is drawn: step 0 has its own place on the log axis."""
    where = f"datum.t > 0 ? datum.t : {axis.position(0):.6g}" if axis.scale == "log" else "datum.t"
    return chart.transform_calculate(x=where)


def x_axis(axis: StepAxis, field: str = "x:Q") -> alt.X:
    if axis.scale == "linear":
        scale = alt.Scale(domain=[axis.low, axis.high], nice=False)
        marks = alt.Axis(values=list(axis.ticks), format=",d", title=TITLE, grid=False, labelOverlap=True)
    else:
        scale = alt.Scale(type="log", domain=[axis.low, axis.high], nice=False)
        zero = axis.zero or 0.0
        text = f"datum.value <= {zero * 1.001:.6g} ? '0' : format(datum.value, ',')"
        marks = alt.Axis(values=list(axis.ticks), labelExpr=text, title=TITLE, grid=False, labelOverlap=True)
    return alt.X(field, scale=scale, axis=marks)


def y_axis(panel: Panel) -> alt.Y:
    values = np.concatenate([series.values for series in panel.series])
    values = values[np.isfinite(values)]
    ticks: dict[str, Any] = {"tickCount": 5}
    scale = alt.Scale(zero=False)
    if panel.is_log:
        scale = alt.Scale(type="log", nice=False, padding=6)
        ticks = {"values": log_ticks(values.min(), values.max())}
    # The heading names the quantity; a title on two lines would push this chart out of line with the others. Of a long
    # name without a unit the renderer shows the beginning.
    title = panel.label if len(panel.label) <= TITLE_LETTERS or not panel.has_units else panel.units
    digits = digits_of(values) - 1
    # '~g' alone writes 0.000001 out, over the title
    small, other = f"format(datum.value, '.{digits - 1}~e')", f"format(datum.value, '.{digits}~g')"
    label = f"abs(datum.value) < 0.001 && datum.value ? {small} : {other}"
    extent = EXTENT + DIGIT * max(0, digits - 7)
    marks = alt.Axis(
        title=title, labelExpr=label, titleLimit=HEIGHT + 20, gridOpacity=0.5, minExtent=extent,
        maxExtent=extent, **ticks,
    )  # fmt: skip
    return alt.Y("v:Q", scale=scale, axis=marks)


def shading(data: Data, axis: StepAxis, transitions: list[dict[str, Any]], *, outline: bool = False) -> list[alt.Chart]:
    """Each transition from onset to end, its midpoint, and its number above."""
    raised = _rows_of_numbers(axis, transitions)
    rows = [
        {"n": str(k + 1), "r": raised[k]}
        | {key: axis.position(one[date]) for key, date in (("a", "onset"), ("x", "midpoint"), ("b", "end"))}
        for k, one in enumerate(transitions)
    ]
    if not rows:
        return []
    base = data.chart(rows)
    x = x_axis(axis)
    look = {"fillOpacity": 0, "stroke": "white", "strokeDash": [3, 3]} if outline else {"opacity": 0.2}
    words = base.mark_text(color="#333333", fontSize=11, fontWeight="bold", baseline="bottom")
    numbers = [
        words.transform_filter(f"datum.r == {row}").encode(x=x, y=alt.value(-2 - ROW_OF_NUMBERS * row), text="n:N")
        for row in sorted(set(raised))
    ]
    return [
        base.mark_rect(color=palette.SHADE, **look).encode(x=x_axis(axis, "a:Q"), x2="b:Q"),
        base.mark_rule(color=palette.SHADE, strokeDash=[1, 2]).encode(x=x),
        *numbers,
    ]


def _rows_of_numbers(axis: StepAxis, transitions: list[dict[str, Any]]) -> list[int]:
    """In which row above the chart the number of each transition stands."""
    return axis.rows([one["midpoint"] for one in transitions])


def probe(data: Data, axis: StepAxis, steps: np.ndarray, *, colour: str = "black") -> list[alt.Chart]:
    """The rule at the step looked at, and the invisible layer that finds the checkpoint nearest to the pointer."""
    base = placed(data.chart([{"t": float(step)} for step in steps]), axis)
    x = x_axis(axis)
    # clear=False: leaving a chart keeps the step, so that the geometry can be looked at in peace.
    near = alt.selection_point(name="near", fields=["t"], nearest=True, on="pointermove", clear=False)
    return [
        base.transform_filter(AT_STEP).mark_rule(color=colour, strokeWidth=1).encode(x=x),
        base.mark_rule(opacity=0).encode(x=x).add_params(near).properties(name="probe"),
    ]


def number(value: float, digits: int = DIGITS) -> float | None:
    """A value for the page: few digits, and null where it is not finite."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def digits_of(values: np.ndarray) -> int:
    """Significant digits of values that vary little beside their size: a thousandth of their range is to be seen."""
    values = values[np.isfinite(values)]
    # Halves, for the range of the largest numbers is none.
    span = float(np.ptp(values / 2)) if len(values) else 0.0
    if not span:
        return DIGITS
    return int(np.clip(DIGITS + math.floor(math.log10(np.abs(values / 2).max() / span)), DIGITS, MOST_DIGITS))


def _rows(panel: Panel, steps: np.ndarray) -> list[Spec]:
    """One row a curve, its values in lists that the chart unfolds: a third of the size of one row a point."""
    rows = []
    digits = DIGITS if panel.is_log else digits_of(np.concatenate([series.values for series in panel.series]))
    for series in panel.series:
        values = np.where(series.values > 0, series.values, np.nan) if panel.is_log else series.values
        error = np.full(len(values), np.nan) if series.error is None else 2 * series.error
        flagged = np.zeros(len(values), bool) if series.flagged is None else series.flagged
        rows.append(
            {
                "s": series.label,
                "t": [float(step) for step in steps],
                "v": [number(value, digits) for value in values],
                "l": [number(value, digits) for value in values - error],
                "h": [number(value, digits) for value in values + error],
                "f": [int(flag) for flag in flagged],
                "o": [int(alone) for alone in isolated(values)],
            }
        )
        if series.error is None:
            rows[-1] |= {"l": [], "h": []}
        rows[-1] |= {key: [] for key in ("f", "o") if not any(rows[-1][key])}
    return rows


def readings(panel: Panel) -> list[str]:
    """What is written above a chart at each checkpoint: the value of every curve, with its standard error."""
    shown = panel.series[:READINGS_LIMIT]
    more = [digits_of(series.values) - DIGITS for series in shown]
    lines = []
    for i in range(len(panel.series[0].values)):
        parts = []
        for place, series in enumerate(shown):
            if not math.isfinite(series.values[i]):
                continue
            decimals = decimals_of(series.name, series.values)
            text = value_text(
                series.values[i],
                math.nan if series.error is None else series.error[i],
                decimals=decimals,
                more=more[place] if decimals is None else 0,
            )
            parts.append(text if len(panel.series) == 1 else f"{series.label}: {text}")
        text = " · ".join(parts) or "no finite value at this step"
        lines.append(text + (" …" if len(shown) < len(panel.series) else ""))
    return lines


def _levels(data: Data, panel: Panel, rules: tuple[float, ...]) -> list[alt.Chart]:
    """Reference heights: dimensionalities of regular arrangements, by name; limits of diagnostics as dashed lines."""
    if panel.series[0].name in LEVELS:
        rows = [
            {"v": level, "n": name, "c": k % 2}
            for k, (level, name) in enumerate(zip(LEVELS[panel.series[0].name], LEVEL_NAMES, strict=True))
        ]
        base = data.chart(rows)
        words = base.mark_text(align="left", baseline="bottom", fontSize=10, color=palette.GUIDE)
        names = [  # in two columns: 2/5 and 3/8 would overprint each other in one
            words.transform_filter(f"datum.c == {place}").encode(
                x=alt.value(4 + 24 * place), y=y_axis(panel), text="n:N"
            )
            for place in (0, 1)
        ]
        return [base.mark_rule(color=palette.GUIDE, strokeDash=[1, 3]).encode(y=y_axis(panel)), *names]
    if rules:
        base = data.chart([{"v": rule} for rule in rules])
        return [base.mark_rule(color=palette.VERMILION, strokeDash=[4, 3]).encode(y=y_axis(panel))]
    return []
