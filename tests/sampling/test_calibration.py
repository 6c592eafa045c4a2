import itertools
import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from devi.errors import DeviError, Notice
from devi.known.memory_run import MemoryRun
from devi.known.monomials import Monomials
from devi.known.regression import Regression
from devi.memory import limited
from devi.metrics.learning_coefficient import LearningCoefficient
from devi.sampling import adjusted_settings, langevin_settings
from devi.sampling.budget import Clock
from devi.sampling.calibration import calibrate
from devi.sampling.pilots import HELD, Pilots, PilotWalk, Variant
from devi.sampling.posterior import Posterior
from devi.sampling.samplers import kernel_named
from devi.sampling.step_size import _suiting, at_steepest
from devi.sampling.walk import Walkers
from devi.tasks.superposition import Superposition

GIVEN = {"chains": 3, "draws": 7, "burn_in": 2, "step_size": 0.01, "n_beta": 9.0, "localization": 0.5, "batch_size": 10}
SHORT = {"burn_in": 60, "draws": 60, "chains": 4}


def test_given_settings_are_kept_as_they_are():
    settings = calibrate(Monomials().run(), **GIVEN)
    assert {name: getattr(settings, name) for name in GIVEN} == GIVEN
    assert {settings.reasons[name] for name in GIVEN} == {"given"}


def test_with_every_setting_given_it_is_still_asked_whether_the_estimate_moves():
    """γ = nβ takes half of a quadratic; at γ/2 a third."""
    given = {**GIVEN, "n_beta": 100.0, "step_size": 1e-3, "localization": 100.0, "burn_in": 100, "draws": 200}
    settings = calibrate(Monomials((2,) * 8).run(), **given)
    assert settings.moves["0"] == pytest.approx(1 / 3, abs=0.1)


def test_settings_given_as_0_count_as_given():
    settings = calibrate(Monomials().run(), **{**GIVEN, "step_size": 0.0, "localization": 0.0, "burn_in": 0})
    assert (settings.step_size, settings.localization, settings.burn_in) == (0.0, 0.0, 0)


def test_n_beta_is_n_over_log_n():
    assert calibrate(Monomials(examples=500).run(), **{**GIVEN, "n_beta": None}).n_beta == 500 / math.log(500)


def test_the_step_of_a_quadratic_is_the_one_whose_virial_is_just_within_the_tolerance():
    # V = 1/(1 − εh/4) = 1.05 at εh = 0.19; pilots add their localization to h, and the grid is coarse
    settings = calibrate(Monomials((2,) * 8).run(), **SHORT)
    assert 0.08 <= settings.step_size * settings.n_beta <= 0.2
    chosen = [row for row in settings.tried if row["step_size"] == settings.step_size]
    assert chosen[0]["virial_excess"] <= 0.05


def test_the_step_follows_the_curvature():
    soft, stiff = (calibrate(Monomials((2,) * 8, (scale,) * 8).run(), **SHORT).step_size for scale in (1.0, 100.0))
    assert soft / stiff == pytest.approx(100, rel=0.01)


def test_checkpoints_far_from_a_minimum_shorten_the_step_of_the_others_by_less_than_ten_times():
    is_far = torch.tensor([True, False, False])
    rows = [[0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1]]
    passes = torch.tensor(rows, dtype=torch.bool)
    assert _suiting([8.0, 4.0, 2.0, 0.3], passes, is_far) == 3
    assert _suiting([8.0, 4.0, 2.0, 0.2], passes, is_far) == 2
    assert _suiting([8.0, 4.0, 2.0, 0.2], passes, torch.zeros(3, dtype=torch.bool)) == 3  # at a minimum, but steeper
    assert _suiting([8.0, 4.0], passes[:2], is_far) is None


@pytest.mark.parametrize("times", [30.0, 1e3, 1e18])
def test_one_checkpoint_whose_weights_grew_out_of_bounds_leaves_the_estimates_at_all_others_as_they_are(times):
    task = Regression(5, 10.0, 200)
    weight = task.solution().state_dict()["weight"].numpy()
    weights = np.stack([weight, weight, times * weight])
    alone = LearningCoefficient(**SHORT).over(MemoryRun(task, {"weight": weights[:2]}))
    with pytest.warns(Notice, match="chosen without training step 2, far from a minimum"):
        found = LearningCoefficient(**SHORT).over(MemoryRun(task, {"weight": weights}))
    np.testing.assert_allclose(found["llc"][:2], alone["llc"], rtol=1e-3)
    assert "headroom" in found["llc_flags"].values[2]
    assert "training step 2," in json.loads(found.attrs["reasons"])["step_size"]


def test_all_examples_are_taken_where_a_few_would_cost_as_much():
    batches = []
    for distribution in ("one_hot", "sparse"):
        task = Superposition(examples=4000, distribution=distribution, init_scale=0.5)
        run = MemoryRun.of(task, [task.model()] * 40)
        batches.append(calibrate(run, **{**GIVEN, "n_beta": 482.0, "chains": 10, "batch_size": None}).batch_size)
    assert batches == [4000, 512]


def test_a_loss_that_is_flat_at_the_checkpoint_still_gets_a_step():
    settings = calibrate(Monomials((4, 4)).run(), **SHORT)
    assert 0.01 < settings.step_size * settings.n_beta < 10
    assert any(row["passes"] for row in settings.tried)


def test_a_regular_quadratic_loses_two_parts_in_a_thousand_to_the_localization():
    settings = calibrate(Regression(5, condition=10.0).run(), **SHORT)
    assert settings.localization < 0.01 * settings.n_beta
    assert "no flat directions" in settings.reasons["localization"]


def test_the_same_run_and_seed_give_the_same_settings():
    first, again = (calibrate(Monomials().run(3), **SHORT) for _ in range(2))
    assert {**first.as_dict(), "seconds_per_step": 0} == {**again.as_dict(), "seconds_per_step": 0}


def test_settings_are_plain_json():
    settings = calibrate(Monomials().run(), **SHORT)
    assert json.loads(json.dumps(settings.as_dict())) == settings.as_dict()
    assert set(settings.reasons) == {*GIVEN, "unresolved", "calibration"}


def test_progress_ends_at_1():
    seen = []
    calibrate(Monomials().run(), **SHORT, progress=seen.append)
    assert seen[-1] == 1.0
    assert seen == sorted(seen)


@pytest.mark.parametrize(("call", "less"), [(0.12, 30), (0.25, 10)])
def test_a_gradient_is_not_timed_by_what_a_busy_machine_adds_to_every_call(monkeypatch, call, less):
    """120 ms a call, 0.1 ms a draw: by one draw of ten replicas a gradient took 12 ms, and enough time was refused.

    With 240 ms a call no second look was taken, and a calibration of two minutes was said to take ten hours.
    """
    run = Monomials().run(5)
    pilots = Pilots(Posterior(run), run.steps, kernel_named("sgld"), 30.0, run.task.examples, 0)
    monkeypatch.setattr("devi.sampling.pilots.time.perf_counter", itertools.count(0.0, 1e-4).__next__)

    def advance(walk: PilotWalk, draws: int) -> None:
        walk.pilots.seconds += call + 1e-4 * draws
        walk.pilots.gradients += 10 * draws

    monkeypatch.setattr(PilotWalk, "advance", advance)
    assert pilots.timed(15, most=1.0) < call / 10 / less


@pytest.mark.parametrize("sampler", ["sgld", "hmc"])
def test_a_budget_that_the_time_of_a_gradient_rules_out_is_refused_before_anything_is_tried(monkeypatch, sampler):
    monkeypatch.setattr(Pilots, "timed", lambda *_, **__: 0.5)
    monkeypatch.setattr(Walkers, "advance", lambda *_: pytest.fail("a walk was begun"))
    with pytest.raises(DeviError, match=r"a budget of 60 s is too short: a gradient takes 500 ms here"):
        calibrate(Monomials().run(9), sampler=sampler, budget=60.0)


@pytest.mark.parametrize(("sampler", "gradients"), [("sgld", 3600 + 4 * 3), ("hmc", 4 * 2 * 180 * 5.5)])
def test_a_short_budget_has_the_settings_tried_at_the_steepest_checkpoints_alone(monkeypatch, sampler, gradients):
    run = MemoryRun(Monomials((4, 4, 2)), {"w": np.float32([[0, 0, 0], [1, 0, 0], [3, 0, 0], [2, 0, 0], [0, 1, 0]])})
    monkeypatch.setattr(Clock, "left", lambda self: 2.0)
    monkeypatch.setattr(Pilots, "timed", lambda self, *_, **__: 2.0 / 2 / gradients / 2.5)  # two and a half of them
    tried = []
    monkeypatch.setattr(
        {"sgld": langevin_settings, "hmc": adjusted_settings}[sampler], "at_steepest",
        lambda pilots, count: tried.append(at_steepest(pilots, count)) or tried[0],
    )  # fmt: skip
    calibrate(run, sampler=sampler, budget=20.0, chains=4, n_beta=10.0, draws=20, burn_in=20)
    assert tried[0].steps.tolist() == [2, 3]
    assert tried[0].posterior.centers[:, 0].tolist() == [3, 2]
    assert tried[0].posterior.base_loss.tolist() == [40.5, 8.0]


def test_little_memory_has_settings_tried_a_few_at_a_time_with_the_same_result():
    run = Monomials((4, 4, 2)).run(2)
    posterior, settings = Posterior(run), [Variant(0.01 * place, 1.0) for place in range(1, 6)]

    def told():
        pilots = Pilots(posterior, run.steps, kernel_named("sgld"), 30.0, 50, 0)
        return pilots.walk(settings, burn_in=5, draws=20)

    whole = told()
    with limited(HELD * 4 * 3 * 9):  # 9 replicas of 3 parameters, and a setting takes 2 × PILOT_CHAINS
        parts = told()
    for all_at_once, some_at_once in zip(whole, parts, strict=True):
        torch.testing.assert_close(some_at_once, all_at_once)


@pytest.mark.parametrize(("sampler", "replicas"), [("sgld", 13), ("hmc", 5)])
def test_where_memory_ends_settings_are_tried_at_the_steepest_checkpoints_and_the_reason_says_so(sampler, replicas):
    run = MemoryRun(Monomials((4, 4, 2)), {"w": np.float32([[0, 0, 0], [1, 0, 0], [3, 0, 0], [2, 0, 0], [0, 1, 0]])})
    with limited(HELD * 4 * 3 * replicas):
        settings = calibrate(run, sampler=sampler, chains=4, n_beta=10.0, draws=20, burn_in=20)
    assert settings.reasons["calibration"].endswith(
        ", at no more than 2 checkpoints, for memory holds few walks at once"
    )
    assert set(settings.moves) == {"2", "3"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")
def test_the_memory_of_a_long_walk_of_a_large_model_does_not_grow_with_its_draws():
    """It did by 5 MB a draw and replica for 3 million parameters: small numbers that stayed split the heap."""
    run = Monomials((2,) * 300_000).run()
    pilots = Pilots(Posterior(run), run.steps, kernel_named("sgld"), 15.0, 16, 0)
    walk = pilots.start([Variant(1e-4, 1.0)], burn_in=0)
    walk.advance(10)
    assert walk.walkers.threads == 1  # in forks this process would not grow
    before = resident()
    walk.advance(60)
    assert resident() - before < 30 << 20


def resident() -> int:
    """Bytes in memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [("chains", 0, "at least 1"), ("step_size", -1.0, "at least 0"), ("n_beta", 0.0, "greater than 0"),
     ("localization", math.nan, "at least 0")],
)  # fmt: skip
def test_a_setting_out_of_range_is_named_with_its_bound(name, value, bound):
    with pytest.raises(DeviError, match=f"{name} = {value} is out of range: it must be finite and {bound}; leave it"):
        calibrate(Monomials().run(), **{name: value})


@pytest.mark.parametrize("powers", [(4,), (8,), (2, 4)])
def test_a_direction_of_higher_order_does_not_count_as_curved(powers):
    from devi.sampling.curvature import curvatures, regular_localization
    from devi.sampling.posterior import Posterior

    assert regular_localization(curvatures(Posterior(Monomials(powers).run())), 100.0, 0.002) is None
    curved = regular_localization(curvatures(Posterior(Monomials((2,) * len(powers)).run())), 100.0, 0.002)
    assert curved == pytest.approx((0.2, 100.0), rel=1e-3)


@pytest.mark.parametrize("sampler", ["sgld", "hmc"])
def test_a_run_that_diverged_at_its_end_is_calibrated_on_what_came_before(sampler):
    task = Monomials((2,) * 10, examples=200)
    weights = np.zeros((12, 10), np.float32)
    weights[9:] = np.nan
    found = LearningCoefficient(sampler=sampler).over(MemoryRun(task, {"w": weights}))
    np.testing.assert_allclose(found["llc"][:9], 5, rtol=0.05)
    assert found["llc_flags"].values.tolist() == [""] * 9 + ["non_finite"] * 3
