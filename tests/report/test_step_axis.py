from __future__ import annotations

import numpy as np
import pytest

from devi.report.step_axis import StepAxis


def test_step_zero_stands_left_of_the_first_positive_step():
    axis = StepAxis.of(np.array([0, 1, 10, 100, 1000]))
    assert axis.scale == "log"
    assert axis.low < axis.position(0) < axis.position(1) == 1.0
    assert axis.label(axis.position(0)) == "0"
    assert [axis.label(tick) for tick in axis.ticks] == ["0", "1", "10", "100", "1,000"]
    assert axis.note == "The step axis is logarithmic; step 0, the initialization, is drawn apart at its left end."


def test_run_without_step_zero_has_no_place_for_it():
    axis = StepAxis.of(np.array([10, 100, 1000]))
    assert axis.zero is None
    assert "no checkpoint at step 0" in axis.note


def test_less_than_a_decade_is_linear_and_zero_is_in_its_true_place():
    axis = StepAxis.of(np.array([0, 100, 200, 300]))
    assert axis.scale == "linear"
    assert axis.position(0) == 0.0


def test_one_checkpoint_has_an_axis_around_it():
    axis = StepAxis.of(np.array([500]))
    assert axis.low < 500 < axis.high
    assert axis.share(500) == 0.5


@pytest.mark.parametrize(
    ("steps", "ticks"),
    [
        ([0], [0]),
        ([500], [500]),
        ([0, 1], [0, 1]),
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 9], [0, 2, 4, 6, 8]),
        ([100, 200, 300], [100, 150, 200, 250, 300]),
        ([98_000, 123_000], [100_000, 105_000, 110_000, 115_000, 120_000]),
    ],
)
def test_ticks_of_a_linear_axis_are_round_whole_steps_within_it(steps, ticks):
    assert list(StepAxis.of(np.array(steps)).ticks) == ticks


def test_share_is_zero_and_one_at_the_ends():
    axis = StepAxis.of(np.array([0, 1, 10, 100, 1000]))
    assert axis.share(axis.high) == 1.0
    assert axis.share(axis.low) == 0.0
    assert np.isclose(axis.share(100) - axis.share(10), axis.share(10) - axis.share(1))


def test_numbers_of_close_transitions_stand_in_rows_of_their_own():
    axis = StepAxis.of(np.geomspace(1, 10_000, 50))
    assert axis.rows([100, 105, 110, 1000]) == [0, 1, 2, 0]
