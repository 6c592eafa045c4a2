"""The figure of the evidence: a row a curve, with its log Bayes factor, and an error where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from devi import DeviError
from devi.report.evidence_figure import MOST, evidence
from devi.transitions.fusion import detect
from tests.transitions.planted import X, run, sigmoid


@pytest.fixture(scope="module")
def found():
    noise = 0.02 * np.random.default_rng(0).normal(size=(6, len(X)))
    return detect(run(**{f"metric_{name}": sigmoid(400, 0.3) + noise[i] for i, name in enumerate("abcdef")}))


def test_the_fit_with_the_change_leaves_noise_and_the_one_without_does_not(found):
    (transition,) = found.transitions
    for one in found.evidence[transition.id]:
        assert np.abs((one.values - one.fitted) / one.noise).max() < 4
        assert np.abs((one.values - one.without) / one.noise).max() > 4
        assert one.log_bayes_factor > 100


def test_each_curve_has_a_row_with_its_log_bayes_factor_up_to_a_number(found):
    (transition,) = found.transitions
    figure = evidence(found.evidence["t1"], transition)
    assert len(found.evidence["t1"]) == 6
    assert len(figure.axes) == 2 * MOST
    title = figure.axes[1].get_title(loc="right")
    assert title == f"log Bayes factor {found.evidence['t1'][0].log_bayes_factor:,.1f} nats"


def test_the_band_the_noise_and_the_interval_of_the_midpoint_are_said(found):
    (transition,) = found.transitions
    figure = evidence(found.evidence["t1"], transition)
    left, right = figure.axes[:2]
    assert figure.get_supxlabel().startswith("noise: the scatter around each point, the standard error or the rounding")
    assert [text.get_text() for text in right.texts] == ["± 2"]
    (interval,) = (line for line in left.lines if line.get_label() == "midpoint, 90% interval")
    assert tuple(interval.get_xdata()) == transition.intervals["midpoint"]


def test_a_curve_known_from_later_on_only_shares_the_axis_of_the_others(found):
    first, second, *_ = found.evidence["t1"]
    later = replace(
        second, **{name: getattr(second, name)[9:] for name in ("steps", "values", "without", "fitted", "noise")}
    )
    axes = evidence([first, later], found.transitions[0]).axes
    assert len({each.get_xlim() for each in axes}) == 1


def test_no_curve_is_an_error(found):
    with pytest.raises(DeviError, match=r"no curve supports this transition; expected those of Detection\.evidence"):
        evidence([], found.transitions[0])


def test_values_have_their_units_and_error_bars_and_what_is_left_out_is_counted():
    noise = 0.02 * np.random.default_rng(0).normal(size=len(X))
    trajectories = run(test_loss=sigmoid(400, 0.3) + noise)
    trajectories["test_loss"].attrs["units"] = "nats"
    one = detect(trajectories)
    figure = evidence(one.evidence["t1"] * (MOST + 2), one.transitions[0])
    assert figure.axes[0].get_ylabel() == "test loss (nats)"
    (bars,) = figure.axes[0].containers
    assert bars.has_yerr
    assert figure.get_supxlabel().endswith("2 more curves moved at the same time")


def test_a_column_goes_by_its_name_as_on_the_page():
    values = np.stack([sigmoid(400, 0.3), np.zeros(len(X))], axis=1)
    trajectories = run(still=np.zeros(len(X))).assign_coords(parameter=["embed.weight", "b"])
    trajectories["density"] = (
        ("step", "parameter"),
        values + 0.02 * np.random.default_rng(0).normal(size=values.shape),
    )
    found = detect(trajectories)
    figure = evidence(found.evidence["t1"], found.transitions[0])
    assert figure.axes[0].get_ylabel() == "density of\nembed.weight"
