"""One curve as constant + null + changes, fitted together.

    y(x) = b_0 + sum_j b_j null_j(x) + sum_k a_k shape_k(x; c_k, w_k) + noise,     x = log10(step)

The linear coefficients are projected out (variable projection; Golub & Pereyra 1973, Kaufman's Jacobian 1975), so only
the centres c_k and log widths log w_k are iterated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from devi.transitions.nulls import TEN_TO_NINETY, bend, sigmoid

WIDEST = 1.0  # decades, the definition of a transition
SHARPEST = 0.4  # of the gap between checkpoints: a sigmoid this narrow cannot be told from a jump

Shape = Literal["sigmoid", "ramp", "kink", "spike"]


@dataclass(frozen=True)
class Component:
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
        """Derivatives of the column by centre and by log width, (n, 2)."""
        if self.shape == "ramp":
            rate = np.where(np.abs(x - self.centre) < 0.625 * self.width, 0.8 / self.width, 0.0)
            return np.stack([-rate, -rate * (x - self.centre)], axis=1)
        s = sigmoid(x, self.centre, self.width)
        if self.shape == "kink":
            return np.stack([-s, bend(x, self.centre, self.width) - (x - self.centre) * s], axis=1)
        rate = TEN_TO_NINETY / self.width
        return np.stack([-rate * s * (1 - s), -rate * (x - self.centre) * s * (1 - s)], axis=1)


@dataclass(frozen=True)
class Fit:
    """components, amplitudes (k,) in y's unit, covariance (2m, 2m) of centres and log widths of the `moving`."""

    components: tuple[Component, ...]
    null: tuple[int, ...]
    amplitudes: np.ndarray
    rss: float
    residual: np.ndarray
    moving: tuple[int, ...]
    covariance: np.ndarray


def gap_at(x: np.ndarray, centre: float) -> float:
    """Distance in decades between the two checkpoints around `centre`."""
    right = int(np.clip(np.searchsorted(x, centre), 1, len(x) - 1))
    return float(x[right] - x[right - 1])


def fit(
    x: np.ndarray,
    y: np.ndarray,
    sigma: np.ndarray,
    components: tuple[Component, ...],
    library: np.ndarray,
    null: tuple[int, ...],
    *,
    iterations: int,
) -> Fit:
    """Least squares in units of the noise. x, y, sigma (n,); library (n, shapes) not divided by the noise."""
    moving = tuple(k for k, one in enumerate(components) if one.shape != "spike")
    base = np.concatenate([np.ones((len(x), 1)), library[:, list(null)]], axis=1) / sigma[:, None]
    target = y / sigma
    damping = 1e-2
    state = _solve(x, target, sigma, base, components)
    for _ in range(iterations if moving else 0):
        jacobian = _jacobian(x, sigma, components, moving, state)
        normal = jacobian.T @ jacobian
        gradient = jacobian.T @ state.residual
        trial_damping = damping
        for _attempt in range(4):
            step = np.linalg.solve(normal + np.diag(trial_damping * np.diag(normal) + 1e-9), gradient)
            trial = _moved(x, components, moving, step)
            trial_state = _solve(x, target, sigma, base, trial)
            if trial_state.rss < state.rss:
                break
            trial_damping *= 8
        else:
            break
        gained = state.rss - trial_state.rss
        components, state, damping = trial, trial_state, max(trial_damping / 4, 1e-6)
        if gained < 1e-3 * max(state.rss, 1.0) * 0.1:
            break
    covariance = np.zeros((0, 0))
    if moving:
        jacobian = _jacobian(x, sigma, components, moving, state)
        covariance = np.linalg.pinv(jacobian.T @ jacobian, rcond=1e-10, hermitian=True)
    return Fit(components, null, state.coefficients[base.shape[1] :], state.rss, state.residual, moving, covariance)


@dataclass(frozen=True)
class _State:
    q: np.ndarray
    coefficients: np.ndarray
    offset: int
    residual: np.ndarray
    rss: float


def _solve(
    x: np.ndarray, target: np.ndarray, sigma: np.ndarray, base: np.ndarray, components: tuple[Component, ...]
) -> _State:
    columns = [base] + [(one.column(x) / sigma)[:, None] for one in components]
    design = np.concatenate(columns, axis=1)
    scale = np.maximum(np.sqrt((design**2).sum(0)), 1e-12)
    q, r = np.linalg.qr(design / scale)
    # A ridge of 1e-5 noise units keeps columns that coincide (a change beyond the data) from exploding.
    inner = r.T @ r + 1e-10 * np.eye(len(scale))
    coefficients = np.linalg.solve(inner, r.T @ (q.T @ target))
    residual = target - q @ (r @ coefficients)
    return _State(q, coefficients / scale, base.shape[1], residual, float(residual @ residual))


def _jacobian(
    x: np.ndarray, sigma: np.ndarray, components: tuple[Component, ...], moving: tuple[int, ...], state: _State
) -> np.ndarray:
    parts = [state.coefficients[state.offset + k] * components[k].slopes(x) / sigma[:, None] for k in moving]
    slopes = np.concatenate(parts, axis=1)
    return slopes - state.q @ (state.q.T @ slopes)


def _moved(
    x: np.ndarray, components: tuple[Component, ...], moving: tuple[int, ...], step: np.ndarray
) -> tuple[Component, ...]:
    moved = list(components)
    for place, k in enumerate(moving):
        one = components[k]
        centre = one.centre + float(np.clip(step[2 * place], -0.15, 0.15))
        centre = float(np.clip(centre, x[0], x[-1]))
        width = one.width * float(np.exp(np.clip(step[2 * place + 1], -0.7, 0.7)))
        width = float(np.clip(width, SHARPEST * gap_at(x, centre), WIDEST))
        moved[k] = replace(one, centre=centre, width=width)
    return tuple(moved)


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
