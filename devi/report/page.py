"""report.html: what happened in one run, in one file that opens offline and reads without JavaScript."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2
import numpy as np
import xarray as xr
from markupsafe import Markup

from devi.report.charts import Spec, curve_chart, readings
from devi.report.document import plain, records, skipped
from devi.report.drawing import drawn
from devi.report.figures import available
from devi.report.geometry_charts import columns_chart, spectrum_bars, spectrum_map
from devi.report.health_figure import diagnostics, trace_steps
from devi.report.panels import Panel, not_drawn, panels, units_of
from devi.report.quantity import decimals_of, entry_name, is_count, moved_columns, own_ends, shown_key
from devi.report.sentences import (
    flag_words,
    gradients_taken,
    headline,
    llc_sentence,
    sentence,
    signed,
    step_text,
    value_text,
)
from devi.report.step_axis import StepAxis
from devi.report.trace_chart import trace_chart

if TYPE_CHECKING:
    from devi.analysis import Analysis

FOURIER = {  # first curve of the panels that belong to the section on Fourier structure
    "restricted_loss",
    "excluded_loss",
    "excluded_loss_by_frequency",
    "logit_variance_share",
    "gini_embedding",
    "frequency_entropy",
}


class Chart(NamedTuple):
    """A place on the page: an element's id and the spec that goes there."""

    id: str
    title: str
    spec: Spec
    note: str = ""
    readings: tuple[str, ...] = ()  # what is written above it, one text a checkpoint

    @property
    def name(self) -> str:
        """What a screen reader calls it."""
        return self.title if self.id.startswith(("geometry", "trace")) else f"{self.title} over training steps"


def page(analysis: Analysis, pictures: Mapping[str, bytes] | None = None, *, figures: bool = True) -> str:
    """The whole page as text.

    pictures  name -> PNG, for readers without scripts; None: they are drawn
    figures   whether the figures for papers lie beside it, to be linked to
    """
    if pictures is None:
        pictures = drawn(analysis, None, lambda share: None)
    trajectories, transitions = analysis.trajectories, records(analysis.transitions)
    left_out = skipped(analysis.skipped)
    charts = _charts(trajectories, transitions)
    everything = [chart for group in charts.values() for chart in group]
    return environment().get_template("page.html.j2").render(
        run=plain(analysis.run),
        notices=[str(notice) for notice in analysis.notices],
        headline=headline(trajectories, transitions, left_out),
        sentences=[sentence(trajectories, one) for one in transitions],
        llc_sentence=llc_sentence(trajectories),
        transitions=[
            one
            | {"moved": _moved(trajectories, one)}
            | {"picture": f"figures/evidence-{one['id']}.png" if figures and one["id"] in analysis.evidence else ""}
            for one in transitions
        ],
        charts=charts,
        steps=trajectories["step"].values.tolist(),
        axis_note=StepAxis.of(trajectories["step"].values).note,
        specs=for_script({chart.id: {"description": chart.name, **chart.spec} for chart in everything}),
        readings=for_script({chart.id: chart.readings for chart in everything if chart.readings}),
        step_list=for_script(trajectories["step"].values.tolist()),
        vega=vega() if everything else Markup(""),
        pictures=[(name, data_uri(content)) for name, content in pictures.items()],
        figures=available(trajectories) if figures else [],
        scalars=_last_values(trajectories),
        flags=flag_counts(trajectories, analysis.flag_meanings),
        stages=[
            stage | {"metrics": {shown_key(trajectories, key): values for key, values in stage["metrics"].items()}}
            for stage in records(analysis.stages)
        ],
        skipped=_by_reason(left_out),
        not_drawn=not_drawn(trajectories),
        settings=[(name, flat(value)) for name, value in plain(_with_cost(analysis)).items()],
        seconds={name: f"{value:,.1f}" for name, value in analysis.seconds.items()},
        command=analysis.command,
    )  # fmt: skip


@cache
def environment() -> jinja2.Environment:
    """Templates with escaping always on: names in a run are other people's text."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("devi.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters.update(step=step_text, value=value_text, signed=signed, flat=flat)
    return made


@cache
def vega() -> Markup:
    """Vega, Vega-Lite and vega-embed as one script."""
    import vl_convert

    bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub has the default wrong
    # The bundle holds "</script" in strings only, where a backslash changes nothing.
    return Markup(bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--"))


def for_script(value: Any) -> Markup:
    """JSON for a script element: '<' is written as an escape, so no text in it can end the element."""
    text = json.dumps(plain(value), separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted key, text) rows."""
    if isinstance(value, dict):
        return [row for key, item in value.items() for row in flat(item, f"{prefix}.{key}" if prefix else str(key))]
    if isinstance(value, str):
        return [(prefix, value)]
    text = json.dumps(value, ensure_ascii=False)
    return [(prefix, text if len(text) < 400 else text[:400] + " …")]


def _with_cost(analysis: Analysis) -> dict[str, Any]:
    """The settings, those of the learning coefficient with what they cost."""
    taken = gradients_taken(analysis.trajectories)
    if "llc" not in analysis.settings or not taken:
        return analysis.settings
    return {**analysis.settings, "llc": {**analysis.settings["llc"], "gradients": f"{taken:,} taken"}}


def flag_counts(trajectories: xr.Dataset, meanings: dict[str, str]) -> list[tuple[str, int, str]]:
    """(flag, checkpoints that carry it, what it means and what to do), most frequent first."""
    return [(word, count, meanings.get(word, "")) for word, count in flag_words(trajectories)]


def _moved(trajectories: xr.Dataset, transition: dict[str, Any]) -> list[dict[str, Any]]:
    """The support of a transition, each curve under the name that its chart gives it, its numbers as texts."""
    per = " per decade" if transition["type"] == "kink" else ""
    rows = []
    for entry in transition["support"]:
        index = entry["index"]
        label = "" if index is None else f"[{entry_name(trajectories, entry['metric'], index)[1]}]"
        counts = entry["metric"] in trajectories and is_count(trajectories[entry["metric"]])
        units = units_of(trajectories[entry["metric"]]) if entry["metric"] in trajectories else ""
        unit = f" {units}" if units not in ("", "1") else ""
        is_whole = entry["amplitude"] is not None and round(entry["amplitude"]) != 0  # a fit may move by 0.4
        decimals = 0 if counts and is_whole and not per else None
        size = "no value" if entry["amplitude"] is None else signed(entry["amplitude"], decimals=decimals) + unit + per
        size += own_ends(trajectories, entry["metric"], index, transition["onset"], transition["end"])
        factor = entry["log_bayes_factor"]
        evidence = "not finite" if factor is None else f"{factor:.1f}" if factor < 10 else f"{factor:,.0f}"
        rows.append(entry | {"name": entry["metric"] + label, "size": size, "evidence": evidence})
    return rows


def _by_reason(entries: list[dict[str, str]]) -> list[tuple[str, str]]:
    """(metrics, reason): one row for all the metrics that share a reason."""
    metrics: dict[str, list[str]] = {}
    for entry in entries:
        metrics.setdefault(entry["reason"], []).append(entry["metric"])
    return [(", ".join(names), reason) for reason, names in metrics.items()]


def _charts(trajectories: xr.Dataset, transitions: list[dict[str, Any]]) -> dict[str, list[Chart]]:
    """All charts by section; geometry stands beside the curves."""
    groups: dict[str, list[Chart]] = {
        name: [] for name in ("curves", "geometry", "fourier", "more", "health", "traces")
    }
    steps = trajectories["step"].values
    if not len(steps):
        return groups
    axis = StepAxis.of(steps)

    def add(group: str, panel: Panel, **settings: Any) -> None:
        name = f"{group}-{len(groups[group])}"
        spec = curve_chart(panel, axis, steps, transitions, **settings)
        groups[group].append(Chart(name, panel.title, spec, panel.note, tuple(readings(panel))))

    for panel in panels(trajectories, moved_columns(trajectories, transitions)):
        minor = not panel.is_known and trajectories[panel.series[0].name].attrs.get("detect", 1) == 0
        add("fourier" if panel.series[0].name in FOURIER else "more" if minor else "curves", panel)
    columns = columns_chart(trajectories)
    if columns:
        shapes = (
            tuple(f"polygon: {shape}" for shape in trajectories["polygon"].values) if "polygon" in trajectories else ()
        )
        groups["geometry"].append(Chart("geometry-0", "Columns of W", *columns, shapes))
    for name, part in (("embedding_spectrum", "embedding"), ("unembedding_spectrum", "unembedding")):
        if name in trajectories and np.isfinite(trajectories[name].values.astype(float)).any():
            groups["geometry"].append(
                Chart(f"geometry-{name}", f"Spectrum of the {part}", spectrum_bars(trajectories, name))
            )
            spec = spectrum_map(trajectories, name, axis, transitions)
            groups["fourier"].append(Chart(f"fourier-{name}", f"spectrum of the {part} over training", spec))
    for panel, diagnostic in diagnostics(trajectories):
        add("health", panel, rules=diagnostic.limits)
        groups["health"][-1] = groups["health"][-1]._replace(note=diagnostic.healthy)
    groups["traces"] = [
        Chart(
            f"trace-{index}", f"loss along the chains, step {step_text(steps[index])}", trace_chart(trajectories, index)
        )
        for index in trace_steps(trajectories)
    ]
    return groups


def data_uri(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")


def _last_values(trajectories: xr.Dataset) -> list[tuple[str, str]]:
    """Scalar curves at the last checkpoint, for the table that a run with one checkpoint lives on."""
    rows = []
    for panel in panels(trajectories):
        if panel.legend:
            continue
        for series in panel.series:
            error = float("nan") if series.error is None else float(series.error[-1])
            text = value_text(float(series.values[-1]), error, decimals=decimals_of(series.name, series.values))
            rows.append((series.label, text + (f" {panel.units}" if panel.units not in ("", "1") else "")))
    return rows
