import numpy as np
import pytest
import torch
import xarray as xr

from devi.errors import DeviError
from devi.known.memory_run import MemoryRun
from devi.known.monomials import Monomials
from devi.known.regression import Regression
from devi.sampling.estimate import estimate
from devi.sampling.langevin import psgld, sgld
from devi.sampling.sample import sample
from devi.tasks.superposition import Superposition

FIXED = {"burn_in": 5, "step_size": 1e-3, "n_beta": 100.0, "localization": 1.0, "batch_size": 0}


def superposition_run(checkpoints=3):
    task = Superposition(init_scale=0.7)
    models = []
    for seed in range(checkpoints):
        torch.manual_seed(seed)
        models.append(task.model())
    return MemoryRun.of(task, models, steps=10 * np.arange(checkpoints))


def test_a_step_size_of_0_stays_at_the_checkpoints_loss_exactly():
    draws = sample(superposition_run(), **{**FIXED, "step_size": 0.0}, draws=8)
    assert (draws["loss"] == draws["base_loss"]).all()
    draws = sample(superposition_run(), **{**FIXED, "step_size": 0.0, "batch_size": 64}, draws=8)
    assert (draws["loss"] == draws["base_loss"]).all()


@pytest.mark.parametrize("batch_size", [0, 100])
def test_two_checkpoints_together_give_the_numbers_of_two_runs_of_one(batch_size):
    run, settings = superposition_run(), {**FIXED, "batch_size": batch_size, "draws": 20, "chains": 5}
    together = sample(run, **settings)
    apart = xr.concat([sample(run.select([row]), **settings) for row in range(3)], dim="step")
    np.testing.assert_allclose(together["loss"], apart["loss"], rtol=2e-6)
    np.testing.assert_allclose(together["virial_by_parameter"], apart["virial_by_parameter"], rtol=2e-5, atol=1e-6)


def test_chunks_of_replicas_change_nothing():
    run = superposition_run()
    whole = sample(run, **FIXED, draws=12)
    for memory_bytes in (1, 10**6):
        np.testing.assert_allclose(
            sample(run, **FIXED, draws=12, memory_bytes=memory_bytes)["loss"], whole["loss"], rtol=2e-6
        )


def test_the_same_seed_gives_the_same_bits_and_another_seed_other_draws():
    run = superposition_run(1)
    first, again, other = (sample(run, **FIXED, draws=6, seed=seed)["loss"] for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).all()


def test_more_chains_leave_the_first_ones_as_they_are():
    run = superposition_run(1)
    few, many = (sample(run, **FIXED, draws=6, chains=chains)["loss"] for chains in (2, 5))
    np.testing.assert_allclose(many[:, :2], few, rtol=2e-6)


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    sample(superposition_run(1), **FIXED, draws=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_setting_used_is_in_the_attributes():
    run = superposition_run(1)
    attrs = sample(run, **FIXED, chains=4, draws=3, seed=4).attrs
    expected = {"sampler": "sgld", "step_size": 1e-3, "n_beta": 100.0, "localization": 1.0, "burn_in": 5, "draws": 3}
    expected |= {
        "chains": 4,
        "batch_size": len(run.task.data("train").targets),
        "seed": 4,
        "device": "cpu",
        "dtype": "float32",
    }
    assert expected.items() <= attrs.items()


def test_one_name_of_an_observed_data_set_is_that_name():
    run, settings = superposition_run(1), {**FIXED, "draws": 3}
    one, several = (sample(run, **settings, observe=names) for names in ("train", ["train"]))
    assert (one["observed_loss"] == several["observed_loss"]).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"draws": "20"}, "draws = '20' is no whole number; leave it out"),
        ({"draws": 20.7}, "draws = 20.7 is no whole number; leave it out"),
        ({"step_size": "1e-3"}, "step_size = '1e-3' is no number; leave it out"),
        ({"dtype": "float64"}, "dtype = 'float64': expected torch.float32 or torch.float64"),
        ({"kernel": print}, "of class builtin_function_or_method; expected one of sgld, psgld, .*, or a Kernel"),
        ({"restriction": ["W", "b"]}, r"restriction = \['W', 'b'\]: expected one text; .* 'a\.\*\+b\.\*'"),
        ({"keep_losses": -1}, "keep_losses = -1 is out of range: it must be at least 0"),
    ],
)
def test_what_an_argument_of_another_kind_should_be_is_said(wrong, message):
    with pytest.raises(DeviError, match=message):
        sample(superposition_run(1), **{**FIXED, "draws": 3, **wrong})


def test_the_heat_of_psgld_is_that_of_the_steps_which_its_preconditioner_makes():
    """Of one parameter with L = ½w² the losses of all draws tell all gradients, and with them m."""
    settings = {"n_beta": 30.0, "localization": 7.0, "step_size": 1e-3, "burn_in": 0, "batch_size": 0, "chains": 2}
    draws = sample(Monomials((2,)).run(), kernel="psgld", draws=41, **settings)
    squares = 2 * (draws["loss"] - draws["base_loss"]).values[0]  # (chain, draw) w², which is ∇L² too
    remembered = [np.zeros(2)]
    for now in squares.T:
        remembered.append(0.99 * remembered[-1] + 0.01 * now)
    scale = 1 / (np.sqrt(remembered[1:]).T + 0.1)
    heat = (1e-3 / 4 * scale * 37.0**2 * squares)[:, draws["visit"].values]
    assert heat.max() > 0.05
    np.testing.assert_allclose(draws["heat"].values[0], heat, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(draws["step_bias"].values[0], heat / 2 * 30 / 37, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_psgld_with_settings_of_its_own_choice_finds_a_quadratic_and_knows_its_heat():
    """20 directions, one 30 times as steep: what the missing Γ adds, 5 to 10% at some seeds, is in the error.

    False alarms: 1 in 370 of the estimate, 1 in 15,000 of the virial, which is 1.08 ± 0.02 over 24 seeds.
    """
    run = Monomials((2,) * 20, (30.0,) + (1.0,) * 19).run()
    draws = sample(run, kernel="psgld", chains=16, draws=600)
    a, pull = draws.attrs["n_beta"] * np.array([30.0] + [1.0] * 19), draws.attrs["localization"]
    exact, found = 0.5 * (a / (a + pull)).sum(), estimate(draws)
    assert abs(found.llc[0] - exact) < 3 * found.error[0]
    assert found.error[0] < 0.15 * exact
    virial = float((draws["virial_loss"] + draws["virial_localization"]).mean())
    assert 1.0 < virial < 1.16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kernel", "steep", "step_size"),
    [(psgld, 100.0, 5e-5), (sgld._replace(name="mine", has_step_bias=False), 1.0, 2e-3)],
    ids=["psgld", "mine"],
)
def test_a_virial_that_no_formula_explains_goes_into_the_error(kernel, steep, step_size):
    """20 directions: psgld lacks Γ where 2 are steep; of a kernel of one's own nothing is known.

    Estimates are 9% high: 4.6 and 10 of the errors that they had, 1 of those they have. False alarms 1 in 370.
    """
    settings = {"n_beta": 144.8, "localization": 0.32, "burn_in": 150, "batch_size": 0, "chains": 16, "draws": 1000}
    task = Monomials((2,) * 20, (steep,) * 2 + (1.0,) * 18)
    draws = sample(task.run(), kernel=kernel, step_size=step_size, **settings)
    found, exact = estimate(draws), task.exact_at(144.8, 0.32)
    assert not found.is_balanced[0]
    assert abs(found.llc[0] - exact) < 3 * found.error[0]
    assert found.error[0] < 0.15 * exact


@pytest.mark.slow
def test_a_quadratic_has_sglds_own_stationary_loss_and_the_step_bias_is_its_excess():
    """E[nβL] = ½Σ a/(h(1 − εh/4)); 20 directions, 16 chains: error about 1%; false alarms at 4 errors: 1 in 15,000."""
    a, gamma, step_size = 100.0, 10.0, 8e-3
    draws = sample(
        Monomials((2,) * 20).run(),
        n_beta=a,
        localization=gamma,
        step_size=step_size,
        burn_in=100,
        draws=1000,
        chains=16,
        batch_size=0,
    )
    h = a + gamma
    expected = 20 * 0.5 * a / (h * (1 - step_size * h / 4))
    per_chain = a * (draws["loss"] - draws["base_loss"]).mean("draw").values[0]
    error = per_chain.std(ddof=1) / 4
    assert abs(per_chain.mean() - expected) < 4 * error
    assert error < 0.02 * expected
    corrected = per_chain.mean() - float(draws["step_bias"].mean())
    assert abs(corrected - 20 * 0.5 * a / h) < 4 * error
    virial = float((draws["virial_loss"] + draws["virial_localization"]).mean())
    assert virial == pytest.approx(1 / (1 - step_size * h / 4), abs=0.04)


@pytest.mark.slow
def test_a_minibatch_estimates_the_full_loss_without_bias():
    """Two estimates, each with its error; false alarms at 4 errors: 1 in 15,000. Batches of half the examples."""
    settings = {"n_beta": 100.0, "localization": 1.0, "step_size": 5e-4, "burn_in": 300, "draws": 2000, "chains": 8}
    run = Regression(10, examples=400).run()
    full, half = (sample(run, **settings, batch_size=size) for size in (0, 200))
    means = [(100 * (draws["loss"] - draws["base_loss"])).mean("draw").values[0] for draws in (full, half)]
    error = np.hypot(*(mean.std(ddof=1) / np.sqrt(8) for mean in means))
    assert abs(means[0].mean() - means[1].mean()) < 4 * error
    assert error < 0.05 * means[0].mean()
