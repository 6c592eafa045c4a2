"""Levels around an event: what is said of a curve that moves is what it did, and what cannot be is not said."""

from __future__ import annotations

import re

import numpy as np
import pytest

from devi.transitions.fusion import find_transitions
from devi.transitions.levels import around, nearest
from tests.transitions.planted import STEPS, X, jump, kink, run, sigmoid


def test_a_change_is_read_at_the_checkpoints_around_it():
    steps = np.array([1.0, 10.0, 20.0, 40.0])
    assert around(steps, 10, 20) == (1, 2)
    assert around(steps, 9, 11) == (0, 2)


def test_a_change_at_the_end_of_a_run_is_read_at_its_last_checkpoint_and_beyond_it_not_at_all():
    steps = np.array([1.0, 10.0, 20.0, 40.0])
    assert around(steps, 15, 40) == (1, 3)
    assert around(steps, 15, 41) is None
    assert around(steps, 0.5, 15) is None


def test_a_curve_that_begins_within_a_change_is_read_from_there_and_not_over_the_whole_run():
    steps = np.array([100.0, 200.0, 400.0, 800.0, 1600.0])
    assert nearest(steps, 90, 160) == (0, 1)
    assert nearest(steps, 1000, 3000) == (3, 4)
    assert nearest(steps, 150, 300) == around(steps, 150, 300) == (0, 2)


def test_what_a_late_curve_does_afterwards_is_not_counted_to_the_event_that_it_began_in():
    late = np.where(X > 2.0, 1 - 0.5 * jump(1500), np.nan)
    for t in find_transitions(run(norm=sigmoid(120, 0.25), late=late), operating_point="exploratory"):
        if t.midpoint < 500:
            assert all(abs(one.amplitude) < 0.1 for one in t.support if one.metric == "late")


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_no_accuracy_moves_by_more_than_was_measured(noise):
    random = np.random.default_rng(0)
    rising = np.clip(0.02 + 1.3 * sigmoid(30, 0.5) + noise * random.normal(size=len(X)), 0, 1)
    found = find_transitions(run(train_accuracy=rising, test_loss=3 + sigmoid(30, 0.4)))
    sizes = [one.amplitude for t in found for one in t.support if one.metric == "train_accuracy"]
    assert sizes
    assert all(0 < size <= 1 for size in sizes)


def test_arrows_agree_with_the_sentence():
    """A fall with a small step up within it: the level falls, whatever the sign of the fitted part."""
    falling = 12 - 6 * sigmoid(900, 0.9) + 0.8 * sigmoid(900, 0.1)
    accuracy = sigmoid(900, 0.12)
    compared = 0
    for t in find_transitions(run(test_loss=falling, test_accuracy=accuracy), operating_point="exploratory"):
        told = re.search(r"test loss ([\d.]+) → ([\d.]+)", t.description)
        size = next((one.amplitude for one in t.support if one.metric == "test_loss"), None)
        if told and size is not None:
            assert (float(told[2]) - float(told[1])) * size > 0
            compared += 1
    assert compared > 0


def test_directions_are_those_of_the_amplitudes_and_evidence_is_above_zero():
    random = np.random.default_rng(4)
    sizes = {"a": 3, "b": -2, "c": 0.3, "d": 0.2, "e": 0}
    curves = {name: 0.2 * random.normal(size=len(X)) + size * sigmoid(300, 0.3) for name, size in sizes.items()}
    (one,) = find_transitions(run(**curves))
    assert {"a", "b"} <= {each.metric for each in one.support}
    assert all((each.amplitude > 0) == (each.direction == "up") for each in one.support)
    assert all(each.log_bayes_factor > 0 for each in one.support)


def test_a_kinks_amplitude_is_its_change_of_slope():
    (one,) = find_transitions(run(a=2 - 0.5 * X + 3 * kink(400)), operating_point="exploratory")
    assert one.type == "kink"
    assert one.support[0].amplitude == pytest.approx(3, rel=0.1)
    assert re.search(r"slope of a −0\.[45]\d* → 2\.[45]\d* a decade", one.description)


def test_only_metrics_that_would_have_shown_a_change_stand_against_it():
    noise = 30 * np.random.default_rng(5).normal(size=len(X))
    short = np.where(STEPS > 500, np.linspace(0, 1, len(X)), np.nan)
    (one,) = find_transitions(run(a=jump(400), still=-X, loud=noise, late=short))
    assert one.against == ("still",)


def test_a_coefficient_that_moves_within_its_own_errors_is_not_said_to_move():
    """Its evidence may add up over many checkpoints; who reads 3.1 ± 0.5 → 3.4 ± 0.5 sees nothing."""
    noise = 0.02 * np.random.default_rng(0).normal(size=len(X))
    curves = run(train_loss=2 - sigmoid(400, 0.3), llc=3.1 + 0.3 * sigmoid(400, 0.3) + noise)
    (plain,) = find_transitions(curves)
    assert [one.metric for one in plain.support] == ["train_loss", "llc"]
    curves["llc_se"] = ("step", np.where(X > 1, 0.01, 0.5))
    (clear,) = find_transitions(curves)
    assert [one.metric for one in clear.support] == ["train_loss", "llc"]
    curves["llc_se"] = ("step", np.where(np.abs(X - 2.6) < 0.3, 0.5, 0.01))  # large where it moves
    (unclear,) = find_transitions(curves)
    assert [one.metric for one in unclear.support] == ["train_loss"]
    assert "LLC" not in unclear.description


# What is declared of a metric


def test_an_accuracy_that_arrives_at_one_bends_there_and_that_is_no_event():
    """It rises by the logarithm of the step and stops at its bound; without bounds, that is a kink."""
    rising = np.minimum(0.25 * X + 0.2, 1.0)
    assert find_transitions(run(test_accuracy=rising), operating_point="exploratory") == []
    assert find_transitions(run(test_accuracy=100 * rising), operating_point="exploratory") == []
    (bent,) = find_transitions(run(other=rising), operating_point="exploratory")
    assert bent.type == "kink"
    declared = run(other=rising)
    declared["other"].attrs["bounds"] = (0.0, 1.0)
    assert find_transitions(declared, operating_point="exploratory") == []


def test_a_bend_of_an_accuracy_far_from_its_bounds_is_an_event():
    (bent,) = find_transitions(run(test_accuracy=0.1 + 0.25 * kink(400)), operating_point="exploratory")
    assert bent.type == "kink"


def test_a_metric_that_only_rises_does_not_step_down():
    falling = run(total=1 - sigmoid(400, 0.3))
    assert len(find_transitions(falling)) == 1
    falling["total"].attrs["monotone"] = "up"
    assert find_transitions(falling) == []
    falling["total"].attrs["monotone"] = "down"
    assert len(find_transitions(falling)) == 1
