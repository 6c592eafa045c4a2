"""Elimination: how noisy the residuals of a fit say that a curve is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from devi.transitions.elimination import inflation_of


@pytest.mark.parametrize("rho", [0.4, 0.6])
@pytest.mark.parametrize("parameters", [1, 6, 10])
def test_correlated_noise_is_told_behind_a_fit_of_any_size(rho, parameters):
    """AR(1) of unit variance under polynomials; without a word of what the fit took, up to 40% of it is missing."""
    n, runs = 100, 400
    white = np.random.default_rng(0).normal(size=(n + 100, runs))
    noise = np.sqrt(1 - rho**2) * lfilter([1.0], [1.0, -rho], white, axis=0)[100:]
    basis = np.linalg.qr(np.polynomial.legendre.legvander(np.linspace(-1, 1, n), parameters - 1))[0]
    left = 1.3 * (noise - basis @ (basis.T @ noise))  # somewhat above the noise that was assumed
    found = np.median([inflation_of(residual, parameters)[0] / np.mean(residual**2) for residual in left.T])
    assert found == pytest.approx((1 + rho) / (1 - rho), rel=0.15)
