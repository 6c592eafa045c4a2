from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from devi.report.panels import log_ticks, not_drawn, panels
from devi.report.quantity import moved_columns


def of(**variables) -> xr.Dataset:
    steps = len(next(iter(variables.values()))[1])
    return xr.Dataset(variables, coords={"step": np.arange(steps)})


def test_train_and_test_share_a_panel_and_errors_are_no_curves(trajectories):
    found = panels(trajectories)
    assert [(panel.label, [series.label for series in panel.series]) for panel in found] == [
        ("loss (nats)", ["train loss", "test loss"]),
        ("accuracy", ["test accuracy"]),
        ("local learning coefficient", ["LLC"]),
    ]
    llc = found[2].series[0]
    assert llc.error is not None
    assert llc.error[0] == 8.7
    assert llc.flagged.tolist() == [True] + [False] * 7


def test_two_units_never_share_an_axis():
    found = panels(
        of(train_loss=("step", np.ones(3), {"units": "nats"}), test_loss=("step", np.ones(3), {"units": "bits"}))
    )
    assert [panel.label for panel in found] == ["train loss (nats)", "test loss (bits)"]


def test_unknown_metric_of_two_dimensions_is_drawn_by_its_second():
    found = panels(of(my_metric=(("step", "head"), np.arange(6.0).reshape(3, 2), {"units": "bits"})))
    assert (found[0].label, found[0].legend) == ("my metric (bits)", "head")
    assert [series.label for series in found[0].series] == ["0", "1"]


def test_only_the_columns_that_vary_most_are_drawn_and_the_panel_says_so():
    values = np.zeros((3, 30))
    values[1] = np.arange(30)
    assert panels(of(wide=(("step", "unit"), values)))[0].note == "the 20 of 30 that vary most"


def test_columns_that_a_transition_moves_are_drawn_before_others():
    """By the number that a transition names them by: frequencies start at 1."""
    values = np.random.default_rng(0).normal(size=(4, 40))
    values[:, 6] = [0.0, 0.0, 0.1, 0.1]
    data = of(wide=(("step", "frequency"), values)).assign_coords(frequency=np.arange(1, 41))
    support = [{"metric": name, "index": index} for name, index in (("wide", 7), ("wide", None), ("gone", 3))]
    (panel,) = panels(data, moved_columns(data, [{"support": support}]))
    assert "7" in [series.label for series in panel.series]
    assert "7" not in [series.label for series in panels(data)[0].series]
    assert panel.note == "20 of 40: those that a transition moves before those that vary most"


def test_what_a_metric_says_of_itself_stands_beside_its_name():
    rank = of(rank=("step", np.ones(2), {"long_name": "stable rank of W"}), plain=("step", np.ones(2)))
    assert [panel.note for panel in panels(rank)] == ["stable rank of W", ""]
    assert panels(of(rank=("step", np.ones(2), {"long_name": "Rank"})))[0].note == ""
    assert panels(of(empty=(("step", "unit"), np.full((2, 3), np.nan), {"long_name": "nothing"}))) == []


def test_what_no_chart_shows_is_named_with_the_reason():
    data = of(
        cube=(("step", "a", "b"), np.zeros((2, 2, 2))),
        words=("step", np.array(["x", "y"])),
        empty=("step", np.array([np.nan, np.nan])),
    )
    assert panels(data) == []
    assert not_drawn(data) == [
        "cube: step × a × b of float64; charts show numbers along step and one more dimension",
        "words: step of <U1; charts show numbers along step and one more dimension",
        "empty: no finite value at any checkpoint",
    ]


def test_log_axis_is_for_positive_values_of_a_wide_range():
    assert panels(of(a=("step", np.array([1.0, 100.0]))))[0].is_log
    assert not panels(of(a=("step", np.array([0.0, 100.0]))))[0].is_log
    assert not panels(of(a=("step", np.array([1.0, 2.0]))))[0].is_log


def test_shares_are_drawn_on_a_linear_axis_whatever_the_least_of_them_is():
    values = np.array([1 / 113, 0.02, 1.0])  # chance at p = 113; at 0 it would be linear
    assert not panels(of(test_accuracy=("step", values)))[0].is_log
    assert not panels(of(prefix_matching=("step", values, {"valid_min": 0.0, "valid_max": 1.0})))[0].is_log
    assert panels(of(loss_like=("step", values, {"valid_min": 0.0, "valid_max": np.inf})))[0].is_log


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.9, 1200, [1, 10, 100, 1000]), (3, 40, [5, 10, 20]), (1e-6, 10, [1e-6, 1e-4, 1e-2, 1.0])],
)
def test_ticks_of_a_log_axis_are_round(low, high, ticks):
    assert np.allclose(log_ticks(low, high), ticks)


def test_coefficients_of_some_parameters_are_drawn_beside_the_full_one_with_their_errors_and_flags():
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    both = ("step", "restriction")
    found = of(
        llc=("step", np.array([5.0, 6.0])),
        llc_se=("step", np.array([0.1, 0.2])),
        restricted_llc=(both, values),
        restricted_llc_se=(both, values / 10),
        restricted_llc_flags=(both, np.array([["", "virial"], ["headroom", ""]]), {"information": "headroom"}),
        restricted_llc_gradients=(both, values),
    ).assign_coords(restriction=["embed*", "blocks.0.query[2]"])
    (panel,) = panels(found)
    assert (panel.title, panel.legend) == ("local learning coefficient", "restriction")
    assert [series.label for series in panel.series] == ["LLC", "embed*", "blocks.0.query[2]"]
    assert panel.series[2].error.tolist() == [0.2, 0.4]
    assert [series.flagged.tolist() for series in panel.series[1:]] == [[False, False], [True, False]]
    assert not_drawn(found) == []
