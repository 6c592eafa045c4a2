"""Noise of a curve: medians at the ends, outliers that go, changes that stay."""

from __future__ import annotations

import numpy as np
import pytest

from devi.transitions.noise import running_median, without_outliers
from tests.transitions.planted import jump


@pytest.mark.parametrize(("count", "window"), [(12, 3), (40, 7), (9, 31)])
def test_a_running_median_is_that_of_the_points_within_the_window(count, window):
    y = np.random.default_rng(count).normal(size=count)
    half = window // 2
    expected = [np.median(y[max(i - half, 0) : i + half + 1]) for i in range(count)]
    assert np.array_equal(running_median(y, window), expected)


def test_a_single_outlier_goes_and_a_jump_stays():
    y = jump(400)
    spoilt = y.copy()
    spoilt[20] += 5
    assert np.array_equal(without_outliers(spoilt), y)
