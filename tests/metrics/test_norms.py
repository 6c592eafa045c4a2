"""Norms of known weights, distances across the border of a block."""

import numpy as np
import pytest

from devi.known.memory_run import MemoryRun
from devi.metrics.norms import Norms
from devi.tasks.superposition import Superposition

TASK = Superposition(features=2, hidden=2)


def run_of(*weights, steps=None):
    states = [{"W": np.full((2, 2), value, np.float32), "b": np.full(2, value, np.float32)} for value in weights]
    return MemoryRun.of_states(TASK, states, steps)


def test_norms_of_equal_weights_are_the_root_of_their_number():
    found = Norms().over(run_of(0.0, 1.0, -3.0))
    assert np.allclose(found.weight_norm, np.array([0, 1, 3]) * np.sqrt(6))
    assert np.allclose(found.weight_norm_squared, [0, 6, 54])
    assert np.allclose(found.layer_norms.sel(parameter="W"), [0, 2, 6])
    assert np.allclose(found.layer_norms.sel(parameter="b"), np.array([0, 1, 3]) * np.sqrt(2))


def test_distance_is_undefined_at_the_first_checkpoint_and_zero_for_one_that_stays():
    found = Norms().over(run_of(1.0, 1.0, 2.0, steps=[0, 5, 25]))
    assert np.isnan(found.distance_moved[0])
    assert np.isnan(found.distance_per_step[0])
    assert np.allclose(found.distance_moved[1:], [0, np.sqrt(6)])
    assert np.allclose(found.distance_per_step[1:], [0, np.sqrt(6) / 20])


def test_blocks_give_what_the_whole_run_gives_across_their_borders():
    run = run_of(1.0, 4.0, 2.0, 7.0, steps=[0, 1, 10, 100])
    whole = Norms().over(run)
    for start, stop in ((0, 1), (1, 3), (3, 4)):
        part = Norms().over(run.block(start, stop))
        for name in whole:
            assert np.array_equal(part[name], whole[name][start:stop], equal_nan=True)


def test_large_float32_weights_do_not_overflow():
    assert float(Norms().over(run_of(1e30)).weight_norm[0]) == pytest.approx(1e30 * np.sqrt(6))


def test_both_parts_of_complex_weights_count():
    still = {"b": np.zeros(2, np.float32)}
    states = [{"W": np.full((2, 2), value, np.complex64), **still} for value in (3 + 4j, 3 - 4j)]
    found = Norms().over(MemoryRun.of_states(TASK, states))
    assert np.allclose(found.weight_norm, 10)
    assert float(found.distance_moved[1]) == pytest.approx(16)


def test_only_the_norm_of_all_weights_is_searched_for_transitions():
    found = Norms().over(run_of(1.0, 2.0))
    assert [name for name in found if found[name].attrs.get("detect", 1)] == ["weight_norm"]
