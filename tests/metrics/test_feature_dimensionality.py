"""Feature dimensionality of arrangements whose value is known."""

import numpy as np
import pytest

from devi.errors import DeviError
from devi.known.memory_run import MemoryRun
from devi.metrics.feature_dimensionality import FeatureDimensionality
from devi.tasks.modular_addition import ModularAddition
from devi.tasks.superposition import Superposition
from tests.metrics.memory_run import random_run


def found_in(*weights, **settings):
    weights = [np.asarray(weight, np.float32) for weight in weights]
    hidden, features = weights[0].shape
    task = Superposition(features=features, hidden=hidden)
    states = [{"W": weight, "b": np.zeros(features, np.float32)} for weight in weights]
    return FeatureDimensionality(**settings).over(MemoryRun.of_states(task, states))


def regular(k):
    angles = 2 * np.pi * np.arange(k) / k
    return np.stack([np.cos(angles), np.sin(angles)])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_orthogonal_features_have_dimensionality_1_and_no_interference(count):
    turn, _ = np.linalg.qr(np.random.default_rng(count).normal(size=(count, count)))
    found = found_in(turn)
    assert np.allclose(found.feature_dimensionality, 1, atol=1e-6)
    assert np.allclose(found.interference, 0, atol=1e-6)
    assert np.allclose(found.feature_norm, 1, atol=1e-6)
    assert float(found.dimensions_per_feature[0]) == pytest.approx(1)
    assert float(found.features_represented[0]) == count


@pytest.mark.parametrize("k", [3, 4, 5, 6, 7])
def test_a_regular_polygon_shares_two_dimensions_equally(k):
    found = found_in(1.3 * regular(k))
    assert np.allclose(found.feature_dimensionality, 2 / k, atol=1e-6)
    assert str(found.polygon.values[0]) == f"{k}-gon"


def test_antipodal_pairs_have_half_a_dimension_each():
    pairs = np.concatenate([np.eye(3), -np.eye(3)], axis=1)
    found = found_in(pairs)
    assert np.allclose(found.feature_dimensionality, 0.5)
    assert np.allclose(found.interference, 1)
    assert "polygon" not in found


def test_dimensionalities_add_up_to_the_rank_for_a_tight_frame():
    # A tight frame W Wᵀ = c·1 has Σ_i D_i = m exactly: Σ_j (W_i·W_j)² = c ‖W_i‖², hence D_i = ‖W_i‖²/c.
    rows, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 3)))
    assert float(found_in(3 * rows.T).feature_dimensionality.sum()) == pytest.approx(3, abs=1e-5)


def test_a_dead_column_has_no_dimensionality_and_leaves_the_others_alone():
    found = found_in(np.concatenate([np.eye(2), np.zeros((2, 1)), np.full((2, 1), 0.01)], axis=1))
    assert np.array_equal(np.isnan(found.feature_dimensionality[0]), [False, False, True, True])
    assert np.array_equal(np.isnan(found.interference[0]), [False, False, True, True])
    assert np.allclose(found.feature_dimensionality[0, :2], 1, atol=1e-3)
    assert found.feature_norm[0, 2] == 0


def test_nothing_represented_has_no_dimensions_per_feature():
    found = found_in(np.full((2, 3), 1e-3))
    assert np.isnan(found.dimensions_per_feature[0])
    assert float(found.features_represented[0]) == 0


def test_a_gate_of_zero_still_refuses_a_column_of_zeros():
    found = found_in([[1.0, 0.0], [0.0, 0.0]], minimum_norm=0.0)
    assert np.isnan(found.feature_dimensionality[0, 1])
    assert float(found.feature_dimensionality[0, 0]) == pytest.approx(1)


def test_two_blocks_of_one_are_one_block_of_two():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 2, 6))
    both = found_in(first, second)
    for name in both:
        for index, weight in enumerate((first, second)):
            assert np.array_equal(found_in(weight)[name][0], both[name][index]), name


def test_turning_the_hidden_space_changes_only_the_directions():
    weight = np.random.default_rng(2).normal(size=(3, 7))
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    before, after = found_in(weight), found_in(turn @ weight)
    for name in ("feature_norm", "feature_dimensionality", "interference", "dimensions_per_feature"):
        assert np.allclose(before[name], after[name], rtol=1e-5, equal_nan=True)


def test_a_large_geometry_is_not_stored():
    assert "feature_direction" in found_in(np.ones((2, 8)))
    assert "feature_direction" not in found_in(np.ones((30, 200)))


def test_a_model_without_the_matrix_is_told_what_it_has():
    with pytest.raises(
        DeviError,
        match=r"the model of ModularAddition has no parameter 'W'; expected a matrix \(hidden, feature\).*"
        r"embed.weight \(5, 2\).*setting 'parameter'",
    ):
        FeatureDimensionality().over(random_run(ModularAddition(p=5, embed=2, width=3), 1))
