import numpy as np
import pytest

from devi.known.monomials import Monomials, Product
from devi.sampling.pilots import Pilots
from devi.sampling.posterior import Posterior
from devi.sampling.resolution import at_nearest, counted_move, moves, reason, variants
from devi.sampling.samplers import kernel_named

N_BETA = 100.0


def moved(task, *, step_size, localization, burn_in, draws, most_draws=0, chains=2):
    """What `moves` finds for a point of the task, and how many draws it took."""
    run = task.run()
    pilots = Pilots(Posterior(run), run.steps, kernel_named("sgld"), N_BETA, task.examples, 0, chains)
    walk = pilots.start(variants(step_size, localization), burn_in=burn_in)
    walk.advance(draws)
    found = moves(walk, most_draws=most_draws)
    return found, pilots.gradients // (3 * chains) - burn_in


def test_a_quadratic_held_by_its_loss_stays_where_it_is_and_that_is_soon_known():
    found, taken = moved(
        Monomials((2,) * 5), step_size=0.1 / N_BETA, localization=1e-3 * N_BETA, burn_in=50, draws=100, most_draws=9999
    )
    assert found == {"0": 0.0}
    assert taken == 100


def test_a_quadratic_half_held_by_the_localization_moves_by_a_third():
    """½·a/(a + γ) with γ = a: from ¼ to ⅓ of each direction when γ is halved."""
    task = Monomials((2,) * 20, examples=100)
    found, _ = moved(task, step_size=0.1 / N_BETA, localization=N_BETA, burn_in=100, draws=500, chains=8)
    assert found["0"] == pytest.approx(1 / 3, abs=0.03)


def test_an_estimate_of_next_to_nothing_that_doubles_has_moved():
    """γ = 10⁴·a holds everything: λ̂ = ½·a/γ·d, twice that at γ/2."""
    task = Monomials((2,) * 20, examples=100)
    found, _ = moved(task, step_size=1e-5 / N_BETA, localization=1e4 * N_BETA, burn_in=100, draws=500, chains=8)
    assert found["0"] == pytest.approx(1, abs=0.05)


def test_draws_double_where_a_move_could_hide_in_the_noise():
    settings = {"step_size": 0.1 / N_BETA, "localization": 1e-3 * N_BETA, "burn_in": 50, "draws": 20}
    _, taken = moved(Monomials((4,)), **settings, most_draws=320)
    assert taken in (40, 80, 160, 320)
    again, only = moved(Monomials((4,)), **settings, most_draws=20)
    assert only == 20
    assert again["0"] != 0.0


def test_a_step_size_of_0_tells_nothing():
    assert moved(Monomials(), step_size=0.0, localization=1.0, burn_in=5, draws=20)[0] == {}


def test_a_checkpoint_whose_chains_left_the_numbers_counts_as_moved_by_all_of_it():
    assert moved(Monomials(), step_size=10.0, localization=1.0, burn_in=20, draws=300)[0] == {"0": 1.0}


def test_no_difference_is_no_move_and_noise_is_none():
    assert counted_move(np.zeros((1, 2, 50)), np.ones(1)).share.tolist() == [0.0]
    noise = np.random.default_rng(0).standard_normal((1, 4, 500))
    assert counted_move(noise, np.full(1, 10.0)).share.tolist() == [0.0]
    found = counted_move(noise + 1, np.full(1, 10.0))
    assert found.share[0] == pytest.approx(0.1, abs=0.01)
    assert found.is_seen.all()
    assert counted_move(noise + 1, np.full(1, 100.0)).share.tolist() == [0.0]  # 1%, and known so well


def test_a_move_counts_that_the_noise_could_hide_though_it_is_as_large_as_what_matters():
    noise = np.random.default_rng(0).standard_normal((1, 4, 100))
    found = counted_move(noise, np.full(1, 0.5))
    assert abs(found.share[0]) == pytest.approx(3 * 0.05 / 0.5, abs=0.1)
    assert not found.is_seen.any()
    assert not found.is_known.any()
    assert counted_move(noise, np.full(1, 3.0)).share.tolist() == [0.0]  # 7% at most


def test_by_its_move_alone_a_good_estimate_of_one_crossing_is_not_told_from_a_bad_one_of_another():
    """What an ideal sampler finds at the default nβ and a γ that sgld chooses: why both are flagged."""
    n_beta, localization = 1000 / np.log(1000), 0.3
    off, move = {}, {}
    for powers, truth in (((2, 4), 1 / 4), ((2, 2), 1 / 2)):
        exact = Product(powers).exact_at
        here = exact(n_beta, localization)
        off[powers] = here / truth - 1
        move[powers] = max(exact(n_beta, localization / 2) / here - 1, 1 - exact(2 * n_beta, 2 * localization) / here)
    assert off == pytest.approx({(2, 4): -0.08, (2, 2): -0.22}, abs=0.01)
    assert move == pytest.approx({(2, 4): 0.035, (2, 2): 0.039}, abs=0.001)


def test_each_checkpoint_takes_the_verdict_of_the_pilot_nearest_in_checkpoints_not_in_steps():
    steps = np.array([0, 1, 2, 10, 1000])
    found = {"0": 0.0, "1000": 0.2}
    assert at_nearest(found, steps, steps).tolist() == [0, 0, 0, 0.2, 0.2]
    assert at_nearest(found, steps, steps[3:]).tolist() == [0.2, 0.2]
    assert not at_nearest({}, steps, steps).any()


def test_the_reason_names_where_the_estimate_moves_and_how_far():
    assert reason({"0": 0.0, "70": -0.29}) == (
        "at 1 of 2 checkpoints the estimate moves, or may, at half the localization and at twice nβ: −29% at step 70"
    )
    assert "of 2 checkpoints stay" in reason({"0": 0.0, "70": 0.0})
