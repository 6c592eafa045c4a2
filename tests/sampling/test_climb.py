"""The automatic settings of hmc: when nβ is raised, and when not."""

import numpy as np
import pytest

from devi.known.memory_run import MemoryRun
from devi.known.monomials import Monomials
from devi.metrics.learning_coefficient import LearningCoefficient
from devi.sampling.climb import ZOOM, _counted, _is_settled, _significant, _zoom


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
