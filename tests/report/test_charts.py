from __future__ import annotations

import json

import altair as alt
import numpy as np
import pytest
import xarray as xr

from devi.report.charts import DIGITS, curve_chart, digits_of, readings, x_axis, y_axis
from devi.report.document import records
from devi.report.page import _charts
from devi.report.panels import panels
from devi.report.step_axis import StepAxis


@pytest.mark.parametrize("kind", ["modular", "superposition", "trajectories"])
def test_every_chart_of_the_page_is_valid_vega_lite(kind, request, transition):
    groups = _charts(request.getfixturevalue(kind), records([transition]))
    assert len(groups) > 0
    for chart in [chart for group in groups.values() for chart in group]:
        alt.Chart.from_dict(chart.spec, validate=True)


def test_ticks_of_a_linear_step_axis_are_whole_steps():
    marks = x_axis(StepAxis.of(np.array([0, 1, 2, 3]))).to_dict()["axis"]
    assert (marks["values"], marks["format"]) == ([0, 1, 2, 3], ",d")


def test_a_value_between_two_gaps_is_marked_by_a_point():
    values = np.array([1.0, 2.0, np.nan, 3.0, np.nan])
    (panel,) = panels(xr.Dataset({"mine": ("step", values)}, coords={"step": np.arange(5)}))
    spec = curve_chart(panel, StepAxis.of(np.arange(5)), np.arange(5), [])
    assert next(iter(spec["datasets"].values()))[0]["o"] == [0, 0, 0, 1, 0]
    assert any({"filter": "datum.o == 1"} in layer.get("transform", []) for layer in spec["layer"])
    (whole,) = panels(xr.Dataset({"mine": ("step", np.ones(5))}, coords={"step": np.arange(5)}))
    assert "datum.o" not in json.dumps(curve_chart(whole, StepAxis.of(np.arange(5)), np.arange(5), []))


def test_a_lone_estimate_has_an_error_bar_and_a_flagged_one_stays_hollow_where_it_is_looked_at():
    steps = np.arange(3)
    data = {
        "llc": ("step", [1.0, np.nan, 3.0]),
        "llc_se": ("step", [0.5, np.nan, 0.2]),
        "llc_flags": ("step", ["", "", "rhat"]),
    }
    (panel,) = panels(xr.Dataset(data, coords={"step": steps}))
    layers = curve_chart(panel, StepAxis.of(steps), steps, [])["layer"]
    (bar,) = [one for one in layers if one["mark"]["type"] == "rule" and "y2" in one["encoding"]]
    assert {"filter": "datum.o == 1"} in bar["transform"]
    assert (bar["encoding"]["y"]["field"], bar["encoding"]["y2"]["field"]) == ("l", "h")
    points = [one for one in layers if one["mark"]["type"] == "point"]
    assert {"filter": "datum.f == 1"} in points[-1]["transform"]  # above the point at the step looked at
    assert points[-1]["mark"]["fill"] == "white"


def test_a_y_axis_has_the_name_of_its_quantity_or_its_unit():
    curves = ("layer_ticket_overlap_previous", "1"), ("a_long_name_of_something_or_other", "nats")
    data = xr.Dataset({name: ("step", np.ones(2), {"units": units}) for name, units in curves}, coords={"step": [1, 2]})
    titles = [y_axis(panel).to_dict()["axis"]["title"] for panel in panels(data)]
    assert titles == ["layer ticket overlap previous", "nats"]


def test_a_curve_that_varies_little_beside_its_size_is_not_drawn_written_or_labelled_as_a_constant():
    steps = np.arange(5)
    values = 1e6 + np.array([0.0, 0.01, 0.05, 0.09, 0.1])
    data = xr.Dataset({"norm": ("step", values), "loss": ("step", [2.3, 2.2, 1.0, 0.1, 0.01])}, coords={"step": steps})
    flat, wide = panels(data)
    (rows, *_) = curve_chart(flat, StepAxis.of(steps), steps, [])["datasets"].values()
    assert np.allclose(rows[0]["v"], values, rtol=0, atol=1e-4)
    assert len(set(readings(flat))) == len(values)
    assert "'.11~g'" in y_axis(flat).to_dict()["axis"]["labelExpr"]  # 1000000.02, not 1000000 at every tick
    assert "'.4~g'" in y_axis(wide).to_dict()["axis"]["labelExpr"]
    assert readings(wide)[-1] == "0.0100"


def test_a_legend_has_whole_names_and_stands_above_the_numbers_of_transitions_that_lie_close(transition):
    names = [f"transformer.layers.{layer}.attention.query_projection.weight" for layer in (0, 1)]
    data = xr.Dataset({"mine": (("step", "parameter"), np.eye(2))}, coords={"step": [1, 100], "parameter": names})
    (panel,), steps = panels(data), np.array([1, 100])
    legends = [
        curve_chart(panel, StepAxis.of(steps), steps, records([transition] * times))["layer"][-4]["encoding"]["color"]
        for times in (1, 3)
    ]
    one, three = (each["legend"] for each in legends)
    assert three["offset"] - one["offset"] == 24
    assert one["labelLimit"] > 6 * len(names[0])


def test_digits_are_told_of_any_numbers_there_are():
    assert digits_of(np.array([1.5e308, -1.5e308, np.nan])) == DIGITS
    assert digits_of(np.array([1.5e308, 1.50001e308])) == digits_of(np.array([1.5, 1.50001])) > DIGITS
    assert digits_of(np.array([5e-324, 0.0])) == DIGITS
    assert digits_of(np.array([])) == DIGITS
