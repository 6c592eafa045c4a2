"""Curves and their noise: what a floor, an error and a correlation add, and how many were searched beside each."""

from __future__ import annotations

import numpy as np
import pytest

from devi import DeviError
from devi.transitions.curves import NOISE_FLOOR, curves_of
from devi.transitions.fusion import find_transitions
from tests.transitions.planted import X, run, sigmoid


def test_the_noise_is_the_local_one_the_error_or_the_floor_whichever_is_larger():
    random = np.random.default_rng(0)
    curves = run(
        smooth=sigmoid(400, 0.4), noisy=sigmoid(400, 0.4) + 0.2 * random.normal(size=len(X)), llc=sigmoid(9, 1)
    )
    curves["llc_se"] = ("step", np.full(len(X), 0.3))
    smooth, noisy, llc = curves_of(curves)[0]
    assert np.median(smooth.sigma) == pytest.approx(NOISE_FLOOR, rel=0.05)
    assert np.median(noisy.sigma) == pytest.approx(0.2, rel=0.25)
    assert np.median(llc.sigma) == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize(("rho", "low", "high"), [(0.0, 1.0, 1.6), (0.7, 2.0, 4.0)])
def test_correlated_noise_is_guessed_before_anything_is_fitted(rho, low, high):
    """Medians of 20 curves: one alone may be off by half."""
    guesses = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        noise = random.normal(size=len(X))
        for i in range(1, len(X)):
            noise[i] = rho * noise[i - 1] + np.sqrt(1 - rho**2) * noise[i]
        (curve,) = curves_of(run(a=sigmoid(400, 0.5) + 0.3 * noise))[0]
        guesses.append(curve.inflation)
    assert low <= np.median(guesses) <= high


def test_columns_that_hardly_move_beside_the_others_are_not_counted():
    found, _ = curves_of(run(feature_norm=np.stack([sigmoid(400, 0.3), sigmoid(900, 0.3), 0.004 * X], axis=1)))
    assert [one.index for one in found] == [0, 1]


def test_values_whose_sums_leave_the_numbers_are_named_and_leave_the_others_alone():
    values = run(loss=sigmoid(400, 0.3), big=np.where(X < 2, 1.5e308, -1.5e308))
    found, skipped = curves_of(values)
    assert [one.metric for one in found] == ["loss"]
    assert [one.metric for one in skipped] == ["big"]
    assert skipped[0].reason.startswith("holds values as large as 1.5e+308")
    assert len(find_transitions(values)) == 1


def test_a_change_below_what_the_metric_declares_material_is_none():
    trajectories = run(feature_norm=0.01 * sigmoid(400, 0.3), other=sigmoid(400, 0.3))
    trajectories["feature_norm"].attrs["material"] = 0.1
    found, skipped = curves_of(trajectories)
    assert [one.metric for one in found] == ["other"]
    assert [one.reason for one in skipped] == ["its range 0.01 is below 0.1, too small to be a change of structure"]


@pytest.mark.parametrize(("size", "searched"), [(0.05, True), (0.01, False)])
def test_a_squared_error_must_move_by_a_fiftieth_of_itself(size, searched):
    trajectories = run(test_loss=0.3 * (1 + size * sigmoid(400, 0.3)), other=sigmoid(400, 0.3))
    trajectories["test_loss"].attrs["units"] = "squared error"
    assert ("test_loss" in [one.metric for one in curves_of(trajectories)[0]]) == searched


@pytest.mark.parametrize("others_stay", [True, False])
def test_context_speaks_for_itself_only_where_nothing_else_was_measured(others_stay):
    trajectories = run(weight_norm=sigmoid(400, 0.3), **({"test_loss": 1e-3 * X} if others_stay else {}))
    for name in trajectories.data_vars:
        trajectories[name].attrs["units"] = "nats" if name == "test_loss" else "1"
    (norm,) = curves_of(trajectories)[0]
    assert norm.context == others_stay


@pytest.mark.parametrize("first", [[10.0], [10.0, 6.0]])
def test_one_or_two_high_first_values_are_not_what_changes_are_measured_against(first):
    values = 1 - 0.5 * sigmoid(400, 0.3) + 0.01 * np.random.default_rng(0).normal(size=len(X))
    values[: len(first)] = first
    (curve,) = curves_of(run(a=values))[0]
    assert curve.spread == pytest.approx(0.5, abs=0.05)


def test_a_standard_error_below_0_is_refused_and_not_taken_for_none():
    with pytest.raises(DeviError, match=r"a_se is -1 at step 1; expected 0 or more, or nan where it is not known"):
        curves_of(run(a=sigmoid(400, 0.3), a_se=-np.ones(len(X))))
