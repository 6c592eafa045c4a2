"""The exact expectation at finite nβ of a two-layer linear network around w = 0.

    L = ½‖B·A‖²,  A (H, M), B (N, H).  A is Gaussian given B and is integrated out:

    Z(nβ) = ∫ dB det(nβ·BᵀB + γ)^{−M/2} · exp(−(γ/2)·‖B‖²)

What is left depends on the q = min(N, H) singular values s of B, whose volume is Π s_i^{|N−H|} Π_{i<j} |s_i² − s_j²| ds
(Muirhead 1982, chapter 3), and E[nβ·L] = −d log Z/d log nβ is the mean of (M/2)·Σ_i nβ·s_i²/(nβ·s_i² + γ): a sum over a
grid of log s, of one or two axes.
"""

from __future__ import annotations

import math

import numpy as np

from devi.errors import DeviError

GRID = 1000  # points per axis; 800 and 3,200 differ by 1e-5 of the value for 3-2-3


def two_layer_expectation(inputs: int, hidden: int, outputs: int, n_beta: float, localization: float) -> float:
    """E[nβ·½‖BA‖²] under exp(−nβ·½‖BA‖² − (γ/2)(‖A‖² + ‖B‖²)), where the smallest width is 1 or 2."""
    if min(inputs, hidden) < min(outputs, hidden):
        inputs, outputs = outputs, inputs  # the problem is symmetric, and the smaller side is cheaper
    values = min(outputs, hidden)
    if values not in (1, 2):
        raise DeviError(
            f"two layers {inputs}-{hidden}-{outputs}: the expectation at finite nβ is a grid over {values} singular"
            f" values; expected 1 or 2."
        )
    scale = math.log(10 / math.sqrt(localization))
    t = np.linspace(scale - 0.5 * abs(math.log(n_beta)) - abs(scale) - 24, scale, GRID)
    square = np.exp(2 * t)
    # Weight of one singular value, in t: the volume, its own dt, the integral over A, the pull
    log_one = (
        (abs(outputs - hidden) + 1) * t
        - inputs / 2 * np.log(n_beta * square + localization)
        - localization / 2 * square
    )
    one = np.exp(log_one - log_one.max())
    energy = inputs / 2 * n_beta * square / (n_beta * square + localization)
    if values == 1:
        return float((one * energy).sum() / one.sum())
    weight = one[:, None] * one[None, :] * np.abs(square[:, None] - square[None, :])
    return float(2 * (weight * energy[:, None]).sum() / weight.sum())
