"""Plateaus of a curve of learning coefficients: planted ones with their levels, and none where it always moves."""

from __future__ import annotations

import numpy as np
import pytest

from devi.transitions.plateaus import plateaus_of
from tests.transitions.planted import STEPS, X, jump, run, sigmoid


def test_a_curve_that_never_stands_still_has_no_plateau():
    assert plateaus_of(run(llc=5 * X)) == []


def test_a_constant_curve_and_a_run_without_the_curve_have_none():
    assert plateaus_of(run(llc=np.full(len(X), 3.0))) == plateaus_of(run(other=X)) == []


def test_levels_between_two_jumps_are_three_plateaus_that_meet_at_the_jumps():
    found = plateaus_of(run(llc=2.0 + 3 * jump(100) + 4 * jump(2000)))
    assert [one.level for one in found] == pytest.approx([2, 5, 9])
    before, after = STEPS[STEPS <= 100][-1], STEPS[STEPS > 100][0]
    assert (found[0].last, found[1].first) == (before, after)
    assert all(np.isnan(one.error) for one in found)


@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_level_has_the_error_of_its_mean(seed):
    random = np.random.default_rng(seed)
    curves = run(llc=4 + 6 * sigmoid(150, 0.3) + 0.3 * random.normal(size=len(X)))
    curves["llc_se"] = ("step", np.full(len(X), 0.3))
    found = plateaus_of(curves)
    assert len(found) == 2
    for one, level in zip(found, (4, 10), strict=True):
        # The ends of a plateau may already lean towards the change, by at most the room it has.
        assert abs(one.level - level) < 4 * one.error + 0.1
        assert one.error < 0.06


def test_steps_times_a_factor_move_a_plateau_by_that_factor():
    curve = 4 + 6 * sigmoid(150, 0.3)
    found, moved = plateaus_of(run(llc=curve)), plateaus_of(run(8 * STEPS, llc=curve))
    assert [8 * one.first for one in found] == [one.first for one in moved]
    assert [one.level for one in found] == [one.level for one in moved]


def test_step_zero_and_values_that_are_not_finite_are_left_out():
    curve = np.where(np.arange(len(X)) % 9 == 0, np.nan, 2.0 + 3 * jump(100))
    found = plateaus_of(run(np.concatenate([[0], STEPS]), llc=np.concatenate([[50.0], curve])))
    assert [one.level for one in found] == pytest.approx([2, 5])


def test_estimates_that_are_flagged_unhealthy_make_no_plateau():
    curves = run(llc=2.0 + 3 * jump(100) + 4 * jump(2000))

    def flagged(words):
        flags = ("step", np.array(words), {"information": "headroom,unresolved"})
        return [one.level for one in plateaus_of(curves.assign(llc_flags=flags))]

    assert flagged(np.where(STEPS > 100, "", "rhat")) == pytest.approx([5, 9])
    assert flagged(np.where(STEPS > 100, "headroom,unresolved", "headroom,ess")) == pytest.approx([5, 9])
    assert flagged(["virial"] * len(STEPS)) == []


def test_a_plateau_ends_where_its_stage_does():
    inside = (STEPS >= 50) & (STEPS <= 3000)
    (part,) = plateaus_of(run(llc=2.0 + 3 * jump(6000)), inside)
    assert (part.first, part.last) == (STEPS[inside][0], STEPS[inside][-1])
    assert plateaus_of(run(llc=2.0 + 3 * jump(6000)), STEPS < 2) == []
