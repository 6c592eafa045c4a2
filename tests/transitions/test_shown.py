"""What of a change a curve itself shows: corners and peaks are drawn by parts that none of the curves does alone."""

from __future__ import annotations

import numpy as np
import pytest

from devi.transitions.curves import curves_of
from devi.transitions.fit import Component
from devi.transitions.fusion import find_transitions
from devi.transitions.shown import Course
from tests.transitions.planted import STEPS, X, run, sigmoid


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_an_accuracy_that_arrives_at_1_changes_once_though_other_metrics_go_on(seed):
    """The corner is no date of its own: until 2026-11-22 a second event was led by an accuracy that stood still."""
    random = np.random.default_rng(seed)
    accuracy = np.minimum(1, 0.06 + 0.032 * STEPS * (STEPS / 30) ** 0.3)
    accuracy = np.minimum(accuracy + np.where(accuracy < 1, 0.005 * random.normal(size=len(X)), 0), 1)
    curves = {
        "train_accuracy": accuracy,
        "train_loss": 4 * np.exp(-((STEPS / 15) ** 1.5)),
        "test_loss": 4 + 9 * sigmoid(24, 0.8) - 1.7 * sigmoid(75, 0.25),
        "probe": -0.7 * sigmoid(37, 0.3),
    }
    leads = [one.support[0].metric for one in find_transitions(run(**curves))]
    assert leads.count("train_accuracy") == 1
    assert len(leads) > 1


def _course(rise: Component, fall: Component, sizes: tuple[float, float]) -> Course:
    fitted = sizes[0] * rise.column(X) + sizes[1] * fall.column(X)
    (curve,), _ = curves_of(run(a=fitted))
    return Course.of(curve, fitted, [rise, fall], np.array(sizes))


def test_a_fall_begins_where_the_rise_before_it_lets_it():
    """A rise from 25 to 50 and a broad fall from 40 to 160: what is seen falls from the peak on."""
    rise, fall = Component("sigmoid", np.log10(35.4), 0.3), Component("sigmoid", np.log10(80), 0.6)
    course = _course(rise, fall, (2.0, -1.0))
    seen = 2.0 * rise.column(X) - fall.column(X)
    peak = float(X[np.argmax(seen)])
    alone = (fall.centre - 0.3, fall.centre, fall.centre + 0.3)
    onset, centre, end = course.dated("sigmoid", alone, -1.0)
    assert alone[0] < peak < onset < centre < end <= alone[2]
    lost = np.interp([onset, centre, end], X, seen)
    gone = (seen.max() - lost) / (seen.max() - np.interp(alone[2], X, seen))
    np.testing.assert_allclose(gone, [0.1, 0.5, 0.9], atol=0.02)


def test_a_change_that_nothing_opposes_keeps_its_dates():
    one, later = Component("sigmoid", 2.0, 0.4), Component("sigmoid", 3.0, 0.2)
    course = _course(one, later, (1.0, -1.0))
    assert course.dated("sigmoid", (1.8, 2.0, 2.2), 1.0) == (1.8, 2.0, 2.2)
    assert course.shows(one, 1.0)
    assert course.shows(later, -1.0)


def test_a_part_that_only_takes_back_what_went_too_far_is_not_shown():
    rise, back = Component("sigmoid", 2.0, 0.8), Component("sigmoid", 2.3, 0.3)
    fitted = 1.1 * rise.column(X) - 0.1 * back.column(X)
    (curve,), _ = curves_of(run(a=fitted))
    course = Course.of(curve, fitted, [rise, back], np.array([1.1, -0.1]))
    assert course.shows(rise, 1.1)
    assert not course.shows(back, -0.1)
