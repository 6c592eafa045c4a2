from dataclasses import dataclass

import numpy as np
import pytest
import torch
import xarray as xr

from devi.known.memory_run import MemoryRun
from devi.known.monomials import Monomials, SurfaceTask
from devi.known.regression import Regression
from devi.sampling import diagnostics
from devi.sampling.diagnostics import (
    FLAG_MEANINGS,
    descended_loss,
    flags,
    non_finite,
    rhat_and_ess,
    standard_error,
)
from devi.sampling.posterior import Posterior

NORMAL = np.random.default_rng(0).standard_normal((1, 4, 500))


def test_the_descent_finds_the_minimum_of_a_quadratic_and_stays_at_a_minimum():
    task = Monomials((2, 2), scales=(1.0, 9.0))
    run = MemoryRun(task, {"w": np.float32([[1, 1], [0, 0], [0, 2]])})
    posterior = Posterior(run)
    np.testing.assert_allclose(posterior.base_loss, [5.0, 0.0, 18.0])
    np.testing.assert_allclose(descended_loss(posterior, step=0.1, n_beta=100.0), 0, atol=1e-5)
    np.testing.assert_allclose(descended_loss(posterior, step=0.1, n_beta=100.0, memory_bytes=1), 0, atol=1e-5)


@dataclass(frozen=True)
class Wells(SurfaceTask):
    """x² + (y² − 1)² + 1 − exp(−(z − 3)²): a saddle at y = 0, and a plain around the well of z."""

    examples: int = 10
    dimension = 3

    def value(self, w):
        x, y, z = w
        return x**2 + (y**2 - 1) ** 2 + 1 - torch.exp(-((z - 3) ** 2))


@pytest.mark.parametrize("step", [1e-5, 1e-2, 1.0, 100.0])
def test_the_descent_leaves_places_of_negative_curvature_however_short_or_long_its_first_step(monkeypatch, step):
    posterior = Posterior(MemoryRun(Wells(), {"w": np.float32([[1, 0.1, 3], [0, 1, 4.5], [0, 0.1, 1.5], [0, 1, 3]])}))
    found = [posterior.base_loss.numpy()]
    for rounds in range(1, 31):
        monkeypatch.setattr(diagnostics, "DESCENT_ROUNDS", rounds)
        found.append(descended_loss(posterior, step=step, n_beta=100.0))
    # neither a headroom below 0 nor less of it from more rounds
    assert (np.diff(found, axis=0) <= 0).all()
    np.testing.assert_allclose(found[-1], 0, atol=1e-3)


@dataclass(frozen=True)
class Saddle(SurfaceTask):
    """½Σx² in 100 directions, − c·v² + ¼v⁴ in the last: c² lower at v² = 2c."""

    examples: int = 10
    dimension = 101
    fall: float = 0.15

    def value(self, w):
        return 0.5 * (w[:-1] ** 2).sum() - self.fall * w[-1] ** 2 + 0.25 * w[-1] ** 4


@pytest.mark.parametrize("fall", [0.03, 0.15, 0.5])
@pytest.mark.parametrize("step", [1e-3, 0.5, 30.0])
def test_the_descent_finds_its_way_down_from_the_very_top_of_a_saddle(fall, step):
    task = Saddle(fall=fall)
    posterior = Posterior(MemoryRun(task, {"w": np.zeros((1, 101), np.float32)}))
    assert descended_loss(posterior, step=step, n_beta=145.0)[0] == pytest.approx(-(fall**2), rel=0.02)


@pytest.mark.parametrize("step", [1e-20, 1e-11, 4.7e-9, 1e-6])
@pytest.mark.parametrize("times", [3.0, 1000.0])
def test_the_descent_finds_its_way_where_its_first_step_is_below_the_spacing_of_floating_point_numbers(step, times):
    task = Regression(5, 10.0, 200)
    weight = task.solution().state_dict()["weight"].numpy()
    there = Posterior(MemoryRun(task, {"weight": np.stack([weight, times * weight])}))
    lowest, high = there.base_loss.numpy()
    of_solution, found = descended_loss(there, step=step, n_beta=37.7)
    assert found == pytest.approx(lowest, abs=1e-3 * (high - lowest))
    assert 37.7 * (lowest - of_solution) < 1e-3


@pytest.mark.parametrize("step", [1e-3, 1.0])
def test_at_a_minimum_the_rounding_of_a_loss_is_no_headroom_however_large_nbeta_is(step):
    """As hmc raises it, 65,536-fold: in float32 that made 0.4 of rounding, which is more than many a λ."""
    task, n_beta = Regression(100, 10.0, 1000), 16.0**4 * 1000 / np.log(1000)
    posterior = Posterior(MemoryRun.of(task, [task.solution()]))
    assert n_beta * (posterior.base_loss[0] - descended_loss(posterior, step=step, n_beta=n_beta)[0]) < 1e-3


@pytest.mark.parametrize("step", [1e-20, 1.9e-7])
def test_the_descent_goes_down_a_fourth_power_by_steps_of_any_length(step):
    posterior = Posterior(MemoryRun(Monomials((4,)), {"w": np.float32([[0.158]])}))
    assert descended_loss(posterior, step=step, n_beta=6e5)[0] < 0.01 * posterior.base_loss[0]


def test_independent_draws_are_all_effective_and_agree():
    rhat, ess = rhat_and_ess(NORMAL)
    assert rhat[0] == pytest.approx(1, abs=0.01)
    assert ess[0] == pytest.approx(2000, rel=0.15)
    assert standard_error(NORMAL, ess)[0] == pytest.approx(1 / np.sqrt(2000), rel=0.5)


def test_chains_in_different_places_show_in_rhat_and_in_the_error_between_chains():
    trace = NORMAL + 10 * np.arange(4)[None, :, None]
    rhat, ess = rhat_and_ess(trace)
    assert rhat[0] > 2
    assert standard_error(trace, ess)[0] == pytest.approx(10 * np.std(range(4), ddof=1) / 2, rel=0.02)


def test_what_all_chains_share_counts_once_in_the_error():
    shared = np.repeat(NORMAL[:, :1], 4, axis=1)
    _, ess = rhat_and_ess(shared)
    assert standard_error(shared, ess)[0] == pytest.approx(1 / np.sqrt(500), rel=0.15)


def test_a_trace_that_never_moves_has_no_error_and_no_diagnostics():
    still = np.zeros((1, 4, 100))
    rhat, ess = rhat_and_ess(still)
    assert np.isnan(rhat).all()
    assert np.isnan(ess).all()
    assert standard_error(still, ess)[0] == 0


def health(loss, **changes):
    draws = xr.Dataset(
        {"loss": (("step", "chain", "draw"), loss), "base_loss": (("step",), np.full(len(loss), -10.0))},
        coords={"step": [1200]},
        attrs={"step_size": 0.1},
    )
    values = {"llc": 5.0, "llc_se": 0.1, "llc_virial": 1.02, "llc_rhat": 1.01, "llc_ess": 400.0, "llc_headroom": 0.0}
    return draws, xr.Dataset({name: (("step",), [value]) for name, value in {**values, **changes}.items()})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"llc_headroom": 0.3}, "headroom"),
        ({"llc_headroom": np.nan}, ""),
        ({"llc": 0.19, "llc_headroom": 0.045}, "headroom"),  # w⁴ displaced to 0.158
        ({"llc": 0.19, "llc_headroom": 0.012}, ""),
        ({"llc_virial": 1.11}, "virial"),
        ({"llc_virial": 0.2}, "virial"),
        ({"llc_virial": np.nan}, "virial"),
        ({"llc_rhat": 1.2}, "rhat"),
        ({"llc_ess": 10.0}, "ess"),
        ({"llc": -3.0, "llc_headroom": 4.0}, "negative,headroom"),
    ],
)
def test_each_flag_is_raised_by_what_it_names(changes, expected):
    assert flags(*health(NORMAL, **changes)) == [expected]


def test_every_flag_has_a_meaning_and_only_healthy_is_empty():
    draws, estimates = health(NORMAL - 100, llc=-90.0, llc_virial=3.0, llc_rhat=2.0, llc_ess=3.0, llc_headroom=9.0)
    found = flags(draws, estimates, unresolved=np.array([True]))
    assert set(found[0].split(",")) == set(FLAG_MEANINGS) - {"non_finite", "one_chain"}
    assert flags(*health(NORMAL[:, :1], llc_rhat=np.nan)) == ["one_chain"]


def test_a_chain_that_left_the_numbers_is_named_with_chain_draw_and_step_size():
    loss = NORMAL.copy()
    loss[0, 2, 17:] = np.nan
    draws, estimates = health(loss, llc=np.nan, llc_se=np.nan, llc_virial=np.nan, llc_rhat=np.nan, llc_ess=np.nan)
    assert flags(draws, estimates) == ["non_finite"]
    assert non_finite(draws) == ["step 1200, chain 2: the loss is not finite from draw 17 on (step_size 0.1)"]
