"""Noise of a curve: medians at the ends, outliers that go, changes that stay."""

from __future__ import annotations

import numpy as np
import pytest

from devi.transitions.noise import grain, local_noise, running_median, shared_noise, without_outliers
from tests.transitions.planted import X, jump


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


def test_points_that_stand_out_often_are_noise_and_stay():
    coin = (np.random.default_rng(0).random(200) < 0.2).astype(float)
    assert np.array_equal(without_outliers(coin), coin)


def test_noise_that_moves_few_points_is_seen():
    events = np.random.default_rng(0).poisson(0.1, len(X)).astype(float)
    assert np.median(local_noise(X, events)) == pytest.approx(events.std(), rel=0.2)


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([0.1, 0.4, 0.3, 1.0], 0.1),
        ([0, 2, 3, 5, 9], 0),
        ([0.5, 0.25, 0.75], 0.01),
        ([0.1, 0.5], 0.1),
        ([1 / 3, 2 / 3], 0),
    ],
)
def test_the_grain_is_what_values_were_rounded_to_unless_they_count(values, unit):
    assert grain(np.array(values * 3, float)) == pytest.approx(unit)


@pytest.mark.parametrize("sign", [1, -1])
def test_noise_that_two_curves_share_is_told_from_a_change_that_they_share(sign):
    random = np.random.default_rng(0)
    common, one, other = random.normal(size=(3, len(X)))
    change = 50 * jump(400)
    assert shared_noise(X, change + one, sign * change + other) == 0
    most = shared_noise(X, change + 2 * common + one, sign * (change + 2 * common + other))
    assert most == pytest.approx(0.8, abs=0.15)  # its standard deviation is about 0.06
    assert shared_noise(X, common, sign * common) == pytest.approx(1)
