"""Following a run: told once, when certain, with its delay; a slow curve is not told.

Slow because of some 90 looks each; seeded, one run each, so no false-alarm rate is claimed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from devi import DeviError
from devi.transitions.fusion import detect
from devi.transitions.live import Follower, Watch
from devi.transitions.transition import Detection
from tests.transitions.planted import STEPS, X, jump, run, sigmoid


def followed(**curves):
    """(step, transition) of everything told while these curves grow."""
    follower, told = Follower(), []
    for count in range(12, len(X) + 1):
        if follower.is_due(STEPS[count - 1]):
            told += follower.look(run(STEPS[:count], **{name: y[:count] for name, y in curves.items()}))
    return told


@pytest.mark.slow
def test_a_jump_is_told_once_and_soon_with_its_delay():
    noise = 0.03 * np.random.default_rng(0).normal(size=len(X))
    (one,) = followed(a=(STEPS > 400) + noise)
    assert 380 < one.transition.midpoint < 420
    assert one.step < 700  # four checkpoints behind it and two looks: a quarter of a decade
    assert one.delay == one.step - one.transition.end


@pytest.mark.slow
def test_a_slow_curve_is_never_told():
    noise = 0.03 * np.random.default_rng(0).normal(size=len(X))
    assert followed(a=(1 + STEPS / 20.0) ** -0.7 + noise) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_loop_watches_itself_in_one_line_and_is_asked_for_more_checkpoints(seed):
    """Of a step that is half seen a bend is told in no run; with seeds 0 and 3 one is found there."""
    watch, told, dense = Watch(), [], []
    values = sigmoid(400, 0.2) + 0.02 * np.random.default_rng(seed).normal(size=len(X))
    for step, value in zip(STEPS, values, strict=True):
        told += watch(int(step), test_accuracy=value)
        if watch.is_dense:
            dense.append(int(step))
    assert len(told) == 1
    assert dense[0] == told[0].step
    assert dense[-1] < 2 * told[0].step
    assert watch.trajectories["test_accuracy"].shape == X.shape


def test_a_table_that_is_long_at_the_first_look_is_certain_of_what_lies_far_back():
    noise = 0.02 * np.random.default_rng(0).normal(size=len(X))
    (one,) = Follower().look(run(a=sigmoid(300, 0.3) + noise))
    assert 280 < one.transition.midpoint < 320


@pytest.mark.parametrize("first", [12, 40])
def test_rows_that_come_in_a_burst_later_are_looked_at_as_those_of_a_long_table(first):
    curves = run(a=sigmoid(300, 0.3) + 0.02 * np.random.default_rng(0).normal(size=len(X)))
    follower = Follower()
    assert follower.look(curves.isel(step=slice(0, first))) == []
    (one,) = follower.look(curves)
    assert 280 < one.transition.midpoint < 320
    assert follower.uncertain == []


@pytest.mark.parametrize(("last", "count"), [(0.2, 0), (0.5, 1)])
def test_a_step_is_told_once_there_are_as_many_decades_behind_it_as_its_age_asks(last, count):
    """Of a 10-90% span of 0.8 decades 0.4 of it, 0.32: until then it may be the first part of a longer one."""
    end = np.log10(1000) + 0.4 + last
    keep = end >= X
    curves = run(STEPS[keep], a=(sigmoid(1000, 0.8) + 0.01 * np.random.default_rng(0).normal(size=len(X)))[keep])
    assert len(Follower().look(curves)) == count


def test_a_loop_may_give_one_step_in_several_calls():
    watch = Watch()
    for step in (1, 2):
        watch(step, loss=1.0 / step)
        watch(step, accuracy=step / 2)
    assert watch.trajectories["step"].values.tolist() == [1, 2]
    assert (
        watch.trajectories["loss"].values.tolist() == watch.trajectories["accuracy"].values[::-1].tolist() == [1, 0.5]
    )


@pytest.mark.slow
def test_a_loop_that_is_resumed_drops_what_came_after_and_is_told_of_each_transition_once():
    values = sigmoid(100, 0.2) + sigmoid(2000, 0.1) + 0.02 * np.random.default_rng(0).normal(size=len(X))
    watch, told = Watch(), []
    rows = list(zip(STEPS.tolist(), values, strict=True))
    earlier = [row for row in rows if row[0] < 1000]
    for step, value in earlier + earlier[-10:] + rows[len(earlier) :]:
        told += watch(step, test_accuracy=value)
    assert len(watch.trajectories["step"]) == len(rows)
    assert [round(np.log10(one.transition.midpoint), 1) for one in told] == [2.0, 3.3]


def test_what_is_no_step_is_refused_before_it_is_taken():
    watch = Watch()
    for step in (-1, float("nan")):
        with pytest.raises(DeviError, match=r"step (-1|nan) is no optimizer step; expected 0, 1, 2"):
            watch(step, loss=1.0)
    with pytest.raises(DeviError, match="loss = 'low' is no number"):
        watch(1, loss="low")
    assert watch.trajectories.sizes["step"] == 0


@pytest.mark.parametrize(("point", "count"), [("strict", 0), ("exploratory", 1)])
def test_the_operating_point_is_that_of_the_search(point, count):
    """Of a weight norm that moves alone only the exploratory one speaks."""
    noise = 0.02 * np.random.default_rng(0).normal(size=(2, len(X)))
    curves = run(weight_norm=sigmoid(300, 0.3) + noise[0], test_loss=1 + noise[1])
    follower = Follower(point)
    looks = [follower.look(curves.isel(step=slice(0, end))) for end in (len(X) - 1, len(X))]
    assert len([one for found in looks for one in found]) == count


def test_what_turns_out_to_be_a_part_of_something_larger_is_taken_back():
    trajectories = run(a=jump(400))
    (real,) = detect(trajectories).transitions
    part = replace(real, onset=300.0, midpoint=350.0, end=400.0, intervals={"midpoint": (340.0, 360.0)})
    whole = replace(real, onset=100.0, midpoint=200.0, end=800.0, intervals={"midpoint": (190.0, 210.0)})
    follower, seen = Follower(), []
    follower._find = lambda trajectories: Detection([seen[-1]], [], [])
    seen.append(part)
    assert [(one.transition, one.replaces) for one in follower.look(trajectories)] == [(part, ())]
    seen.append(whole)
    assert follower.look(trajectories) == []  # it must be seen twice
    assert [(one.transition, one.replaces) for one in follower.look(trajectories)] == [(whole, (part,))]
    assert follower.look(trajectories) == []
    assert follower.uncertain == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda watch: watch(1, loss=None), r"loss = None is no number; expected one for each step, nan where there"),
        (lambda watch: watch(1, loss=np.zeros(3)), r"loss = array\(\[0., 0., 0.\]\) is no number"),
        (lambda watch: watch("3", loss=1.0), r"step 3 is no optimizer step; expected 0, 1, 2"),
        (lambda watch: Watch("lax"), "no operating point is called 'lax'"),
    ],
)
def test_what_a_loop_gives_wrongly_is_said_with_its_name(call, message):
    with pytest.raises(DeviError, match=message):
        call(Watch())
