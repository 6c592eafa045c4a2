"""One curve as constant + null + changes, fitted together.

    y(x) = b_0 + sum_j b_j null_j(x) + sum_k a_k shape_k(x; c_k, w_k) + noise,     x = log10(step)

The linear coefficients are projected out (variable projection; Golub & Pereyra 1973, Kaufman's Jacobian 1975), so only
the centres c_k and log widths log w_k are iterated.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from scipy.linalg.lapack import dposv

from devi.transitions.nulls import TEN_TO_NINETY, bend, sigmoid

SEEN_OUT = 3.0  # widths of a spike, all but exp(-3) of it, lie within the run
WIDEST = 1.0  # decades, the definition of a transition
LONGEST_SPIKE = 0.25  # decades, after which exp(-1) of it is left: it has come back within half a decade
SHARPEST = 0.4  # of the gap between checkpoints: a sigmoid this narrow cannot be told from a jump

Shape = Literal["sigmoid", "ramp", "kink", "spike"]


class Component(NamedTuple):
    """A change with its centre and 10-90% width in decades of steps. `spike` is a nuisance: up at once, decaying."""

    shape: Shape
    centre: float
    width: float

    def column(self, x: np.ndarray) -> np.ndarray:
        if self.shape == "sigmoid":
            return sigmoid(x, self.centre, self.width)
        if self.shape == "ramp":
            return np.clip(0.5 + 0.8 * (x - self.centre) / self.width, 0.0, 1.0)  # 10-90% span is 0.8 of the ramp
        if self.shape == "kink":
            return bend(x, self.centre, self.width)
        return np.where(x >= self.centre - 1e-12, np.exp(-np.maximum(x - self.centre, 0) / self.width), 0.0)

    def slopes(self, x: np.ndarray) -> np.ndarray:
        """Derivatives of the column by centre and by log width, (2, n)."""
        result = np.zeros((2, len(x)))
        if self.shape == "ramp":
            rate = np.where(np.abs(x - self.centre) < 0.625 * self.width, 0.8 / self.width, 0.0)
            result[0], result[1] = -rate, -rate * (x - self.centre)
        elif self.shape == "spike":  # it begins at a checkpoint, which stays
            fallen = np.maximum(x - self.centre, 0) / self.width
            result[1] = self.column(x) * fallen
        else:
            s = sigmoid(x, self.centre, self.width)
            if self.shape == "kink":
                result[0], result[1] = -s, bend(x, self.centre, self.width) - (x - self.centre) * s
            else:
                result[0] = -TEN_TO_NINETY / self.width * s * (1 - s)
                result[1] = result[0] * (x - self.centre)
        return result


def gap_at(x: np.ndarray, centre: float) -> float:
    """Distance in decades between the two checkpoints around `centre`."""
    right = min(max(int(x.searchsorted(centre)), 1), len(x) - 1)
    return float(x[right] - x[right - 1])


def longest_spike(x: np.ndarray, centre: float) -> float:
    """What has not come back when the run ends is no spike; half a gap wide it is one checkpoint off the rest."""
    return min(LONGEST_SPIKE, max((float(x[-1]) - centre) / SEEN_OUT, 0.5 * gap_at(x, centre)))


class State(NamedTuple):
    """The linear part of one curve, solved. rows (p, n) in units of the noise; inverse (p, p) of its normal matrix."""

    rows: np.ndarray
    inverse: np.ndarray
    coefficients: np.ndarray
    residual: np.ndarray
    rss: float


def solve(rows: np.ndarray, target: np.ndarray) -> State:
    """Coefficients of one curve: rows (p, n) for target = y / sigma (n,)."""
    normal = rows @ rows.T
    # A ridge of 1e-5 of each column's size keeps columns that coincide (a change beyond the data) from exploding.
    diagonal = normal.ravel()[:: len(rows) + 1]
    diagonal *= 1 + 1e-10
    diagonal[diagonal == 0] = 1.0  # a change that this curve has no checkpoints for: its amplitude is 0
    inverse = solve_positive(normal, np.eye(len(rows)))
    coefficients = inverse @ (rows @ target)
    # Once more on what is left: the normal equations lose half the digits.
    coefficients += inverse @ (rows @ (target - coefficients @ rows))
    residual = target - coefficients @ rows
    return State(rows, inverse, coefficients, residual, float(residual @ residual))


def solve_positive(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """matrix⁻¹ right for a small positive definite matrix (Cholesky), without the price of asking numpy for it."""
    _, result, failed = dposv(matrix, right)
    return np.linalg.solve(matrix, right) if failed else result


def moved(x: np.ndarray, components: tuple[Component, ...], step: np.ndarray) -> tuple[Component, ...]:
    """The components after a step (2k,) of centres and log widths, held within what the checkpoints can show."""
    result = []
    for k, one in enumerate(components):
        centre = one.centre + min(max(float(step[2 * k]), -0.15), 0.15)
        centre = min(max(centre, float(x[0])), float(x[-1]))
        gap = gap_at(x, centre)
        widest = max(longest_spike(x, centre) if one.shape == "spike" else WIDEST, gap)
        width = one.width * math.exp(min(max(float(step[2 * k + 1]), -0.7), 0.7))
        result.append(Component(one.shape, centre, min(max(width, SHARPEST * gap), widest)))
    return tuple(result)


def dates_of(x: np.ndarray, parts: list[Component], amplitudes: np.ndarray) -> tuple[float, float, float]:
    """log10(step) where the sum of the parts has done 10, 50 and 90% of its way; a jump lies in one gap."""
    if len(parts) == 1:
        one = parts[0]
        gap = gap_at(x, one.centre)
        if one.shape in ("sigmoid", "ramp") and one.width < gap:
            right = int(np.clip(np.searchsorted(x, one.centre), 1, len(x) - 1))
            left_end, right_end = float(x[right - 1]), float(x[right])
            return left_end, (left_end + right_end) / 2, right_end
        return one.centre - one.width / 2, one.centre, one.centre + one.width / 2
    low = min(one.centre - 2 * one.width for one in parts)
    high = max(one.centre + 2 * one.width for one in parts)
    fine = np.linspace(low, high, 2001)
    done = sum(a * one.column(fine) for a, one in zip(amplitudes, parts, strict=True)) / np.sum(amplitudes)
    onset, centre, end = np.interp([0.1, 0.5, 0.9], np.maximum.accumulate(done), fine)
    return float(onset), float(centre), float(end)
