"""What makes an event and what only supports one."""

from __future__ import annotations

import numpy as np
import pytest

from devi.transitions.fusion import detect, find_transitions
from devi.transitions.ranks import is_context, told
from tests.transitions.planted import BACKGROUNDS, jump, run, sigmoid

CONTEXT = ("weight_norm", "ticket_density", "gini_embedding", "frequency_entropy", "logit_variance_share")


@pytest.mark.parametrize("name", CONTEXT)
def test_context_alone_is_no_transition_beside_a_function_that_stays(name):
    curves = run(**{"test_loss": 4 + BACKGROUNDS["power"], name: sigmoid(400, 0.3)})
    assert find_transitions(curves) == []
    assert len(find_transitions(curves, operating_point="exploratory")) == 1


@pytest.mark.parametrize("name", CONTEXT)
def test_context_supports_what_the_function_does_at_the_same_time(name):
    (one,) = find_transitions(run(**{"test_loss": 4 - 3 * sigmoid(400, 0.3), name: sigmoid(410, 0.3)}))
    assert {support.metric for support in one.support} == {"test_loss", name}
    assert one.midpoint == pytest.approx(400, rel=0.01)  # the function dates it


def test_where_only_context_was_measured_it_speaks_for_itself():
    assert len(find_transitions(run(weight_norm=sigmoid(400, 0.3)))) == 1


def test_a_metric_that_nobody_told_us_about_may_make_an_event():
    assert len(find_transitions(run(mine=sigmoid(400, 0.3), weight_norm=BACKGROUNDS["power"]))) == 1


@pytest.mark.parametrize(("lowest", "expected"), [(0.1, False), (1.9, False), (2.1, True), (4.0, True)])
def test_the_restricted_loss_is_context_where_it_never_falls_to_half_its_start(lowest, expected):
    assert is_context("restricted_loss_test", np.array([4.0, 4.2, lowest, 5.0])) is expected


def test_single_frequencies_of_the_excluded_loss_are_one_event_with_what_they_follow():
    columns = np.stack([4 - 4 * sigmoid(date, 0.4) for date in (30, 34, 40)], axis=1)
    curves = run(train_accuracy=sigmoid(32, 0.4), excluded_loss_by_frequency=columns)
    (one,) = find_transitions(curves)
    assert {support.index for support in one.support if support.index is not None} == {0, 1, 2}


def test_what_only_repeats_the_llc_is_never_searched():
    curves = run(llc=10 * jump(400), llc_step_bias=jump(400), llc_headroom=jump(400))
    found = detect(curves)
    assert {one.metric for one in found.skipped} == {"llc_step_bias", "llc_headroom"}
    assert {support.metric for one in found.transitions for support in one.support} == {"llc"}


def test_context_that_moves_long_after_does_not_stretch_the_event():
    curves = run(test_accuracy=sigmoid(200, 0.3), weight_norm=sigmoid(3000, 0.3))
    (one,) = find_transitions(curves)
    assert one.end < 400
    assert one.against == ("weight_norm",)


def test_a_sentence_tells_four_curves_two_columns_of_one_metric_at_most_and_the_llc_in_any_case():
    assert told(["a", "b", "c", "d", "e"], [False] * 5) == [0, 1, 2, 3]
    assert told(["a", "a", "a", "b"], [False] * 4) == [0, 1, 3]
    assert told(["a", "weight_norm"], [False, True]) == [0]
    assert told(["weight_norm", "gini_embedding"], [True, True]) == [0, 1]
    assert told(["a", "b", "c", "d", "llc", "e"], [False] * 6) == [0, 1, 2, 4]
    assert told([], []) == []
