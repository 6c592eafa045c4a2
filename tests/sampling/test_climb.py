"""The automatic settings of hmc: when nβ is raised, and when not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

from devi.known.memory_run import MemoryRun
from devi.known.monomials import Monomials
from devi.metrics.learning_coefficient import LearningCoefficient
from devi.sampling import climb as module
from devi.sampling import rungs as rungs_module
from devi.sampling.climb import NEARER, SHARPER, ZOOM, _counted, _is_settled, _significant, _zoom, climb, stayed
from devi.sampling.rungs import Rungs
from devi.sampling.samplers import kernel_named
from devi.sampling.settings import Settings


def test_a_move_counts_if_it_is_larger_than_its_errors_and_than_a_share():
    share = np.array([0.0, 0.01, 0.05, -0.05, 0.05, np.nan])
    error = np.array([0.01, 0.001, 0.01, 0.01, 0.025, 0.01])
    assert _counted(share, error).tolist() == [0, 0, 0.05, -0.05, 0, 1]


def test_a_move_that_is_known_too_little_counts_too():
    assert _counted(np.array([0.05, -0.01]), np.array([0.04, 0.06])).tolist() == [0.05, -0.01]


def test_an_estimate_is_settled_only_where_its_move_is_small_and_known():
    small, known = np.array([0.005]), np.array([0.005])
    assert _is_settled(small, known)
    assert not _is_settled(small, np.array([0.1]))
    assert not _is_settled(np.array([0.1]), known)
    assert not _is_settled(np.array([np.nan]), known)


def test_where_the_loss_holds_all_directions_the_localization_stays():
    assert _zoom(np.array([0.05]), np.array([0.005]), 1.0) == 1.0


def test_where_directions_stay_flat_the_localization_rises_with_nbeta():
    assert _zoom(np.array([0.30]), np.array([0.29]), 1.0) == ZOOM
    assert _zoom(np.array([0.45]), np.array([0.06]), 1.0) == ZOOM  # most were only held at last, one is flat


@pytest.mark.parametrize("power", [6, 8])
def test_where_a_direction_of_high_order_is_held_better_and_better_the_localization_stays(power):
    """Of wᵖ it holds a share that goes as γ/nβ^(2/p)."""
    assert _zoom(np.array([0.2]), np.array([0.2 * 16 ** (-2 / power)]), 1.0) == 1.0


def test_from_nearer_a_small_rise_counts_and_a_small_fall_does_not():
    share, error = np.array([0.05, -0.05, 0.05, -0.2]), np.array([0.01, 0.01, 0.03, 0.01])
    assert _significant(share, error, fall=0.08, rise=0.03).tolist() == [0.05, 0, 0, -0.2]


def climbed(monkeypatch, rungs, way=climb, known=(), *, pull=0.3, base_loss=0.0):
    """The climb where chains find (estimate, virial), and perhaps `pull`, the share of the virial that γ holds, on one
    rung after another; and the (nβ, γ) of those rungs, as multiples of the first."""
    taken, found = [], iter(rungs)

    def sampled(posterior, steps, settings, **rest):
        llc, virial, held = (*next(found), pull)[:3]
        taken.append((settings.n_beta, settings.localization))
        shape = ("step", "chain")
        values = {"step_size": 0.1, "acceptance": 0.9, "virial_loss": virial - held, "virial_localization": held}
        draws = xr.Dataset({name: (shape, np.full((1, 2), value)) for name, value in values.items()})
        return draws.assign_attrs(gradients=1, llc=llc)

    monkeypatch.setattr(rungs_module, "sample_posterior", sampled)
    found_by = lambda draws: SimpleNamespace(llc=np.array([draws.llc]), error=np.array([0.01]))  # noqa: E731
    monkeypatch.setattr(rungs_module, "estimate", found_by)
    monkeypatch.setattr(rungs_module, "escaped", lambda draws: np.zeros(1))
    monkeypatch.setattr(module, "_is_minimum", lambda posterior, rung: np.ones(1, bool))
    here = Settings("hmc", 0.1, 1.0, 1.0, burn_in=1, draws=1, most_draws=1, chains=2, batch_size=1)
    posterior = SimpleNamespace(dtype=torch.float32, base_loss=torch.tensor([base_loss]), examples=1, dimension=2)
    taker = Rungs(posterior, np.array([0]), kernel_named("hmc"), seed=0)
    return way(taker, here, *known), taken


def test_where_directions_are_flat_one_rung_without_a_move_is_chance(monkeypatch):
    found, taken = climbed(monkeypatch, [(8.5, 1)] * 4)
    assert taken[-2:] == [(SHARPER**2, ZOOM), (SHARPER**2, ZOOM * NEARER)]  # the last is the look from nearer
    found, taken = climbed(monkeypatch, [(9.1, 1), (9.1, 1), (8.6, 1), (8.5, 1), (8.5, 1), (8.5, 1), (8.5, 1)])
    assert taken[-2:] == [(SHARPER**5, ZOOM**4), (SHARPER**5, ZOOM**4 * NEARER)]
    assert (found.settings.n_beta, found.settings.localization) == taken[-2]
    assert found.moves == {"0": 0.0}


def test_an_estimate_that_has_moved_must_stay_three_times(monkeypatch):
    """A polygon's stays 2 to 5% high over a rung or two."""
    rungs = [(8.7, 1), (8.7, 1), (8.7, 1), (8.4, 1), (8.4, 1), (8.4, 1)]
    assert len(climbed(monkeypatch, rungs, pull=0.01)[1]) == 2  # a quadratic's never moves
    found, taken = climbed(monkeypatch, [(8.0, 1), *rungs[1:]], pull=0.01)
    assert taken == [(SHARPER**k, 1) for k in range(6)]
    assert found.moves == {"0": 0.0}


def test_what_only_comes_back_from_the_localization_is_no_move(monkeypatch):
    """Of two directions of a quadratic γ holds a tenth, then a hundredth: 0.9 of 1 and 0.99."""
    _, taken = climbed(monkeypatch, [(0.9, 1, 0.1), (0.99, 1, 0.01), (1.0, 1, 0.001)])
    assert len(taken) == 3


@pytest.mark.parametrize(("base_loss", "highest"), [(1.0, SHARPER**5), (2.0, SHARPER**4)])
def test_a_climb_ends_before_the_rounding_of_losses_is_felt(monkeypatch, base_loss, highest):
    rungs = [(9 - 0.5 * k, 1) for k in range(7)]  # it moves all the time
    found, _ = climbed(monkeypatch, rungs, pull=0.01, base_loss=base_loss)
    assert found.settings.n_beta == highest
    assert found.moves["0"] < 0


def test_what_stays_below_half_of_the_rank_is_sharpened_on_at_the_same_localization(monkeypatch):
    """Directions that γ holds on every rung do not move the estimate; the loss has to be felt in them first."""
    rank = [SimpleNamespace(least=8.5)]
    found, taken = climbed(monkeypatch, [(6, 1)] * 4 + [(8.5, 1)] * 3, known=[rank])
    assert taken[:5] == [(SHARPER**k, 1) for k in range(5)]
    assert found.settings.n_beta == SHARPER**5
    assert found.moves == {"0": 0.0}
    found, taken = climbed(monkeypatch, [(8.4, 1)] * 4, known=[rank])
    assert (found.settings.n_beta, found.settings.localization) == (SHARPER**2, ZOOM)  # short by no more than 10%


def test_a_rung_whose_chains_do_not_explore_flat_directions_ends_the_climb_below_it(monkeypatch):
    found, taken = climbed(monkeypatch, [(6.0, 1), (6.5, 1), (6.52, 1), (5.0, 0.6), (6.5, 1)])
    assert (found.settings.n_beta, found.settings.localization) == taken[2]
    assert taken[4] == (taken[2][0], NEARER * taken[2][1])
    assert found.moves == {"0": 0.0}  # from 6.5 to 6.52: what the stuck chains found is nothing to go by


def test_where_chains_are_stuck_before_the_estimate_settled_the_climb_goes_on_from_nearer_if_that_changes_nothing(
    monkeypatch,
):
    found, taken = climbed(
        monkeypatch, [(6.0, 1), (6.5, 1), (6.9, 1), (5.0, 0.6), (6.88, 1), (6.9, 1), (6.91, 1), (6.9, 1), (6.9, 1)]
    )
    assert taken[4] == (taken[2][0], NEARER * taken[2][1])
    assert taken[5] == (taken[4][0] * SHARPER, taken[4][1] * ZOOM)
    assert (found.settings.n_beta, found.settings.localization) == taken[7]
    assert found.moves == {"0": 0.0}


def test_where_chains_are_stuck_and_a_nearer_look_finds_less_the_estimate_is_unresolved(monkeypatch):
    found, taken = climbed(monkeypatch, [(6.0, 1), (6.5, 1), (6.9, 1), (5.0, 0.6), (6.0, 1)])
    assert len(taken) == 5
    assert (found.settings.n_beta, found.settings.localization) == taken[2]
    assert found.moves["0"] < 0


def test_what_rises_from_nearer_is_climbed_on_from_there_though_nbeta_was_at_its_highest(monkeypatch):
    found, taken = climbed(
        monkeypatch, [(6.0, 1), (6.5, 1), (7.0, 1), (6.0, 0.6), (7.5, 1), (7.52, 1), (7.5, 1), (7.5, 1), (7.5, 1)]
    )
    assert taken[4] == (taken[2][0], NEARER * taken[2][1])
    assert taken[5] == (taken[4][0] * SHARPER, taken[4][1] * ZOOM)
    assert found.settings.n_beta == taken[7][0]
    assert found.moves == {"0": 0.0}


def test_with_nbeta_given_one_look_from_farther_and_a_sharper_one_tell_whether_the_estimate_stays(monkeypatch):
    found, taken = climbed(monkeypatch, [(8.0, 1), (8.1, 1), (7.9, 1)], way=stayed)
    assert taken == [(1, 1), (1, 0.5), (2, 2)]
    assert found.moves == {"0": 0.0}
    assert (found.settings.n_beta, found.settings.localization) == (1, 1)
    found, _ = climbed(monkeypatch, [(8.0, 1), (8.8, 1), (7.9, 1)], way=stayed)
    assert found.moves == {"0": pytest.approx(0.1)}
    found, _ = climbed(monkeypatch, [(0.2, 1), (0.2, 1), (0.2, 1)], way=stayed)
    assert found.moves["0"] != 0.0  # 0.2 ± 0.01: it may have moved by a fifth


def test_with_every_setting_given_hmc_is_asked_too_whether_its_estimate_moves():
    """γ = nβ takes half of a quadratic; at γ/2 a third, at twice both nothing else."""
    given = {"n_beta": 100.0, "localization": 100.0, "step_size": 0.5, "burn_in": 50, "draws": 100, "chains": 4}
    found = LearningCoefficient(sampler="hmc", batch_size=0, **given).settings(Monomials((2,) * 8).run())
    assert found.n_beta == 100.0
    assert found.moves["0"] == pytest.approx(1 / 3, abs=0.1)
    assert "at half the localization" in found.reasons["unresolved"]


# 1e-5 counts in the rank; 1e-8 is too soft to be told from rounding.
@pytest.mark.parametrize(("sampler", "soft"), [("mala", 1e-5), ("mala", 1e-8), ("hmc", 1e-8)])
def test_soft_directions_that_the_localization_holds_throughout_leave_the_estimate_unresolved(sampler, soft):
    """λ = 2, and 1 is found whatever γ is changed to nearby."""
    found = LearningCoefficient(sampler=sampler).settings(Monomials((2,) * 4, (1.0, 1.0, soft, soft)).run())
    assert found.moves["0"] > 0.1
    assert "of 1 checkpoints" in found.reasons["unresolved"]


@pytest.mark.slow
def test_a_quartic_is_sharpened_until_the_localization_is_out_of_the_way():
    """At n / log n it loses 4% to γ. One estimate: false alarms at 4 errors 1 in 15,000."""
    task = Monomials((4,), examples=1000)
    found = LearningCoefficient(sampler="hmc").over(task.run())
    assert found.attrs["n_beta"] > 100 * 1000 / np.log(1000)
    assert found["llc"].item() == pytest.approx(task.exact_at(found.attrs["n_beta"], 1.0), rel=0.02)
    assert abs(found["llc"].item() - 0.25) < 4 * found["llc_se"].item()
    assert found["llc_flags"].item() == ""


@pytest.mark.slow
def test_off_a_minimum_nothing_is_sharpened_and_the_flag_says_so():
    run = MemoryRun(Monomials((2, 2), examples=100), {"w": np.float32([[1.0, 1.0]])})
    found = LearningCoefficient(sampler="hmc").over(run)
    assert found.attrs["n_beta"] == pytest.approx(100 / np.log(100))
    assert "headroom" in found["llc_flags"].item()


def test_minibatches_are_refused_by_what_accepts_or_rejects():
    with pytest.raises(Exception, match=r"hmc accepts or rejects by the loss of all 1000 examples;.*--sampler sgld"):
        LearningCoefficient(sampler="hmc", batch_size=10).over(Monomials().run())
