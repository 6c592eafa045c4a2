"""Exact expectation at finite nβ for the cusp L(w) = ½·(x² − y³)².

With η = √nβ·y³ and x = nβ^(−1/4)·ξ the weight exp(−nβ·L) is exp(−½(ξ² − η)²). Around the singular point, |η| small,
it is integrated over ξ as it is; along the ridge x² = y³ far from it, over u = ξ² − η by the Gauss–Hermite rule. y < 0
counts only where η is not far below 0.
"""

from __future__ import annotations

import numpy as np

NODES = 400
FAR = 30.0  # η from which the ridge is far from x = 0: e^(−FAR²/2) of a Gaussian there would lie beyond it
NEGATIVE = -13.0  # η below which e^(−η²/2) is below rounding
DEPTH = 80.0  # (ξ² − η)² up to which ξ is integrated: e^−40


def cusp_expectation(n_beta: float, localization: float) -> float:
    """E[nβ·½(x² − y³)²] under exp(−nβ·½(x² − y³)² − (γ/2)(x² + y²)), γ > 0. 5/12 for nβ → ∞."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    root = np.sqrt(n_beta)
    parts = []  # the integrals of the weight, and of the weight times nβ·L

    # Around the singular point: y from η = NEGATIVE to FAR, x > 0 from 0 to where the weight is below rounding
    low, high = np.cbrt(NEGATIVE / root), np.cbrt(FAR / root)
    y = low + (high - low) / 2 * (nodes + 1)
    eta = root * y**3
    largest = np.sqrt(eta + np.sqrt(np.where(eta < 0, eta**2, 0) + DEPTH))
    xi = largest[:, None] / 2 * (nodes + 1)
    energy = 0.5 * (xi**2 - eta[:, None]) ** 2
    pull = localization / 2 * (xi**2 / root + y[:, None] ** 2)
    measure = (high - low) / 2 * weights[:, None] * largest[:, None] / 2 * weights / np.sqrt(root)
    parts.append(_both(measure * np.exp(-energy - pull), energy))

    # The ridge: y = e^s from there to where the pull leaves nothing
    start, end = np.log(high), np.log(max(10 / np.sqrt(localization), 2 * high))
    y = np.exp(start + (end - start) / 2 * (nodes + 1))
    u, hermite = np.polynomial.hermite_e.hermegauss(40)
    square = y[:, None] ** 3 + u / root  # x²; u stays above −13
    measure = (end - start) / 2 * (weights * y)[:, None] * hermite / (2 * root * np.sqrt(square))
    parts.append(_both(measure * np.exp(-localization / 2 * (square + y[:, None] ** 2)), 0.5 * u**2))
    total, energy_total = np.sum(parts, axis=0)
    return float(energy_total / total)


def _both(weight: np.ndarray, energy: np.ndarray) -> tuple[float, float]:
    return float(weight.sum()), float((weight * energy).sum())
