"""Curves and their noise: what a floor, an error and a correlation add, and how many were searched beside each."""

from __future__ import annotations

import numpy as np
import pytest

from devi.transitions.curves import NOISE_FLOOR, curves_of
from tests.transitions.planted import X, run, sigmoid


def test_the_noise_is_the_local_one_the_error_or_the_floor_whichever_is_larger():
    random = np.random.default_rng(0)
    curves = run(
        smooth=sigmoid(400, 0.4), noisy=sigmoid(400, 0.4) + 0.2 * random.normal(size=len(X)), llc=sigmoid(9, 1)
    )
    curves["llc_se"] = ("step", np.full(len(X), 0.3))
    smooth, noisy, llc = curves_of(curves)[0]
    assert np.median(smooth.sigma) == pytest.approx(NOISE_FLOOR, rel=0.05)
    assert np.median(noisy.sigma) == pytest.approx(0.2, rel=0.25)
    assert np.median(llc.sigma) == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize(("rho", "low", "high"), [(0.0, 1.0, 1.6), (0.7, 2.0, 4.0)])
def test_correlated_noise_is_guessed_before_anything_is_fitted(rho, low, high):
    """Medians of 20 curves: one alone may be off by half."""
    guesses = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        noise = random.normal(size=len(X))
        for i in range(1, len(X)):
            noise[i] = rho * noise[i - 1] + np.sqrt(1 - rho**2) * noise[i]
        (curve,) = curves_of(run(a=sigmoid(400, 0.5) + 0.3 * noise))[0]
        guesses.append(curve.inflation)
    assert low <= np.median(guesses) <= high


def test_columns_that_hardly_move_beside_the_others_are_not_counted():
    found, _ = curves_of(run(feature_norm=np.stack([sigmoid(400, 0.3), sigmoid(900, 0.3), 0.01 * X], axis=1)))
    assert [one.index for one in found] == [0, 1]
    assert [one.columns for one in found] == [2, 2]
