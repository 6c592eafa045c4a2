import dataclasses

import numpy as np
import pytest
import xarray as xr

from devi.known.monomials import Monomials
from devi.memory import limited
from devi.sampling.pilots import HELD
from devi.sampling.samplers import kernel_named
from devi.sampling.settings import GIVEN, Settings
from devi.sampling.sweep import flat_region, plan, sweep

N_BETA, PARAMETERS = 100.0, 40
SETTINGS = Settings(
    "sgld",
    step_size=0.1 / N_BETA,
    n_beta=N_BETA,
    localization=10.0,
    burn_in=100,
    draws=200,
    most_draws=4000,
    chains=4,
    batch_size=100,
)
STEADY = np.array([1.0, 1.01, 1.0, 1.01, 0.99])
SURE = np.full(5, 1e-3)
YES = np.ones(5, dtype=bool)


def test_a_curve_that_stays_is_flat_all_along():
    assert flat_region(STEADY, SURE, YES, 2).tolist() == [True] * 5


def test_the_flat_region_ends_where_the_estimate_moves_by_more_than_5_percent_and_2_errors():
    falling = np.array([0.8, 0.96, 1.0, 1.04, 1.2])
    assert flat_region(falling, SURE, YES, 2).tolist() == [False, True, True, True, False]
    unsure = np.array([0.2, 1e-3, 1e-3, 1e-3, 0.09])
    assert flat_region(falling, unsure, YES, 2).tolist() == [True, True, True, True, False]


def test_what_lies_beyond_a_failure_is_not_in_the_flat_region():
    sound = np.array([True, False, True, True, True])
    assert flat_region(STEADY, SURE, sound, 2).tolist() == [False, False, True, True, True]


def test_there_is_no_flat_region_around_a_chosen_setting_that_fails():
    sound = np.array([True, True, False, True, True])
    assert not flat_region(STEADY, SURE, sound, 2).any()


def test_one_point_is_no_region():
    steep = np.array([0.2, 0.5, 1.0, 1.5, 2.0])
    assert not flat_region(steep, SURE, YES, 2).any()


def test_an_estimate_that_is_no_number_is_not_flat():
    broken = np.array([1.0, 1.0, 1.0, np.nan, 1.0])
    assert flat_region(broken, SURE, YES, 2).tolist() == [True, True, True, False, False]


def test_the_chosen_settings_are_on_each_curve_and_sgld_steps_shrink_as_n_beta_grows():
    found = plan(SETTINGS, kernel_named("sgld"), examples=100)
    chosen = [one.what for one in found if one.settings.n_beta == N_BETA and one.settings.step_size == 0.1 / N_BETA]
    assert chosen == ["step_size", "n_beta", "n_beta", "n_beta"]
    for _, one in (case for case in found if case.what == "n_beta"):
        assert one.step_size * one.n_beta == pytest.approx(0.1)
        assert one.burn_in == 100 * max(1, one.n_beta / N_BETA)


def test_hmc_keeps_the_swept_step_size_and_adapts_it_along_n_beta():
    found = plan(dataclasses.replace(SETTINGS, sampler="hmc", step_size=0.5), kernel_named("hmc"), examples=100)
    assert all((case.settings.reasons.get("step_size") == GIVEN) == (case.what == "step_size") for case in found)
    assert {case.settings.burn_in for case in found} == {100}


@pytest.fixture(scope="module")
def swept():
    """A quadratic of 40 parameters, a = nβ = 100 and γ = 10 at the chosen settings."""
    run = Monomials((2,) * PARAMETERS, examples=100).run(4, steps=[0, 10, 20, 30])
    settings = dataclasses.replace(SETTINGS, burn_in=200, chains=8)
    return sweep(run, settings, seed=3)


@pytest.mark.slow  # 3 errors of 4 with 3 checkpoints of 5 settings each: a false alarm in about 25 seeds
def test_sgld_on_a_quadratic_follows_its_closed_forms_over_step_size(swept):
    """Raw: ½Σ a/(h(1 − εh/4)), h = a + γ; corrected: ½Σ a/h, at every step that has reached equilibrium."""
    curve = swept.isel(setting=swept["varied"].values == "step_size")
    stiffness = N_BETA + 10.0
    done = (curve["step_size"].values * stiffness * 200 > 10) & (curve["step_size"].values * stiffness < 1.5)
    assert done.sum() >= 5
    raw = 0.5 * PARAMETERS * N_BETA / (stiffness * (1 - curve["step_size"].values * stiffness / 4))
    away = (curve["llc_raw"].mean("step").values - raw)[done] / raw[done]
    assert np.abs(away).max() < 0.06
    exact = 0.5 * PARAMETERS * N_BETA / stiffness
    errors = ((curve["llc"].values - exact) / curve["llc_se"].values)[done]
    assert np.abs(errors).max() < 4
    assert curve["llc_se"].values[done].max() < 0.08 * exact  # a quarter of what is taken off for the step counts


@pytest.mark.slow
def test_the_curves_over_n_beta_follow_a_over_a_plus_gamma(swept):
    """½Σ a/(a + γ) for each nβ and each of γ/2, γ, 2γ; 45 estimates within 4 errors: a false alarm in 300 seeds."""
    curve = swept.isel(setting=swept["varied"].values == "n_beta")
    strength, pull = curve["n_beta"].values, curve["localization"].values
    exact = 0.5 * PARAMETERS * strength / (strength + pull)
    assert np.abs((curve["llc"].values - exact[:, None]) / curve["llc_se"].values).max() < 4
    assert (curve["llc_se"].values / exact[:, None]).max() < 0.05


@pytest.mark.slow
def test_steps_too_small_and_too_large_are_not_sound_and_not_flat(swept):
    curve = swept.isel(setting=swept["varied"].values == "step_size")
    assert not curve["is_sound"][0].any()
    chosen = np.flatnonzero(curve["is_chosen"].values)[0]
    assert curve["is_flat"][chosen].all()
    assert not curve["is_flat"][0].any()


@pytest.mark.slow  # a sweep
def test_a_step_that_blows_up_is_named_and_has_no_estimate():
    run = Monomials((2, 2), examples=100).run(1)
    short = dataclasses.replace(SETTINGS, step_size=2.0 / N_BETA, draws=20, burn_in=60)
    found = sweep(run, short)
    last = found.isel(setting=int(np.flatnonzero(found["varied"].values == "step_size")[-1]))
    assert "non_finite" in str(last["llc_flags"].values[0])
    assert not bool(last["is_sound"][0])
    assert not bool(last["is_flat"][0])


def test_little_memory_has_checkpoints_swept_one_at_a_time_with_the_same_result():
    run = Monomials((4, 2), examples=100).run(3, steps=[0, 10, 20])
    short = dataclasses.replace(SETTINGS, draws=20, burn_in=20)
    whole = sweep(run, short)
    with limited(HELD * 4 * 2 * short.chains):
        parts = sweep(run, short)
    xr.testing.assert_allclose(parts.drop_vars("llc_flags"), whole.drop_vars("llc_flags"))
    assert (parts["llc_flags"] == whole["llc_flags"]).all()
