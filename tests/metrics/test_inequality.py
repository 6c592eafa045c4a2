"""Gini coefficient and entropy at their limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from devi.metrics.inequality import entropy, gini


@pytest.mark.parametrize("count", [1, 2, 7, 26])
def test_equal_values_have_gini_0_and_entropy_log_n(count):
    assert gini(np.full(count, 3.0)) == pytest.approx(0, abs=1e-12)
    assert entropy(np.full(count, 3.0)) == pytest.approx(np.log(count))


@pytest.mark.parametrize("count", [2, 7, 26])
def test_one_value_that_has_it_all_has_gini_1_minus_1_over_n_and_entropy_0(count):
    values = np.zeros(count)
    values[count // 2] = 5.0
    assert gini(values) == pytest.approx(1 - 1 / count)
    assert entropy(values) == 0


def test_values_of_zero_have_neither():
    assert np.isnan(gini(np.zeros(3)))
    assert np.isnan(entropy(np.zeros(3)))


@given(arrays(float, 6, elements=st.floats(0.01, 100)))
def test_gini_is_the_mean_difference_over_twice_the_mean(values):
    pairs = np.abs(values[:, None] - values).sum()
    assert gini(values) == pytest.approx(pairs / (2 * 6 * values.sum()), abs=1e-9)


@given(arrays(float, 6, elements=st.floats(0.01, 100)), st.floats(0.1, 10))
def test_order_and_unit_do_not_matter(values, factor):
    assert gini(values[::-1] * factor) == pytest.approx(gini(values), abs=1e-9)
    assert entropy(values[::-1] * factor) == pytest.approx(entropy(values), abs=1e-9)


def test_leading_axes_are_kept():
    rows = np.array([[1.0, 1, 1, 1], [0, 0, 0, 1]])
    assert np.allclose(gini(rows), [0, 0.75])
    assert np.allclose(entropy(rows), [np.log(4), 0])
