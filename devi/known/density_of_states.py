"""Exact expectations at finite nβ for losses that are monomials of the parameters, from their density of states.

With x = p·log|w|, a parameter under the pull exp(−(γ/2)·w²) has the density  ρ(x) = (1/p)·exp(x/p − (γ/2)·e^{2x/p}),
and Π w_i^{p_i} = e^u has the convolution of these as the density of u. Then

    E[k·Π w_i^{p_i}] = ∫ k·e^u·exp(−k·e^u)·ρ(u) du / ∫ exp(−k·e^u)·ρ(u) du

The integrands are analytic and fall off at both ends, where the trapezoid rule is exact to rounding.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

SPACING = 0.05  # the error falls as exp(−π²/spacing): exp(−k·e^u) is analytic up to |Im u| = π/2
RANGE = 36.0  # e^−36 = 2e-16, where what the lower end leaves out is below rounding


def monomial_expectation(power: int, strength: float, localization: float) -> float:
    """E[k·w^p] under exp(−k·w^p − (γ/2)·w²), with `strength` k, p even. 1/p if γ = 0."""
    if localization == 0:
        return 1 / power
    if power == 2:
        return strength / (2 * strength + localization)
    return product_expectation((power,), strength, localization)


@functools.lru_cache(maxsize=256)
def product_expectation(powers: Sequence[int], strength: float, localization: float) -> float:
    """E[k·Π w_i^{p_i}] under exp(−k·Π w_i^{p_i} − (γ/2)·‖w‖²), with `strength` k, p_i even, γ > 0."""
    # ‖w‖ beyond 10/√γ has a weight below e^−50; far enough below the turn of exp(−k·e^u), all tails are e^{u/p}
    scale = math.log(10 / math.sqrt(localization))
    top = max(powers) * max(scale, 0.0)
    bottom = -abs(math.log(strength)) - RANGE * max(powers) - sum(powers) * abs(scale)
    low, high = math.floor(bottom / SPACING), math.ceil(top / SPACING)
    grid = SPACING * np.arange(low, high + 1)
    density = np.ones(1)
    for power in powers:
        one = np.exp(grid / power - localization / 2 * np.exp(2 * grid / power)) / power
        density = np.convolve(density, one) * SPACING
    u = SPACING * (low * len(powers) + np.arange(len(density)))
    energy = strength * np.exp(u)
    weight = density * np.exp(-energy)
    return float((energy * weight).sum() / weight.sum())
