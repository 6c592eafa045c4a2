"""Refinement: dates and widths of all components of a fit, iterated together by what all curves say of them.

Damped Gauss-Newton steps with the linear coefficients projected out (variable projection; Kaufman's Jacobian 1975).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from devi.transitions.bundle import BEFORE, Bundle, Shared, joined, kept, settled, solved
from devi.transitions.fit import Component, moved


def refined(bundle: Bundle, fit: Shared, iterations: int) -> Shared:
    """Centres and widths by damped Gauss-Newton steps over all curves at once."""
    if not fit.components:
        return fit
    damping = 1e-2
    touched = [m for m in range(len(bundle.curves)) if fit.of(m)]
    total = sum(fit.states[m].rss for m in touched)
    for _ in range(iterations):
        normal, gradient = normal_of(bundle, fit, touched)
        for _attempt in range(3):
            step = np.linalg.solve(normal + np.diag(damping * np.diag(normal) + 1e-9), gradient)
            trial = solved(bundle, replace(fit, components=moved(bundle.x, fit.components, step)), touched)
            now = sum(trial.states[m].rss for m in touched)
            if now < total:
                break
            damping *= 8
        else:
            break
        gained, total = total - now, now
        fit, damping = trial, max(damping / 4, 1e-6)
        if gained < 0.05:  # of chi²: far below anything that decides
            break
    return fit


def with_components(
    bundle: Bundle, fit: Shared, new: Sequence[Component], members: frozenset[int], *, terms: int = 2
) -> Shared:
    """The fit with more components, which move these curves; settled and refined."""
    grown = refined(bundle, settled(bundle, joined(fit, new, members), sorted(members), terms=terms), 5)
    return refined(bundle, settled(bundle, grown, sorted(members), terms=terms), 3)


def without(bundle: Bundle, fit: Shared, gone: Sequence[int]) -> Shared:
    """The fit without some components; their curves settled, the rest refined."""
    touched = sorted(frozenset().union(*(fit.members[k] for k in gone)))
    rest = kept(fit, [k for k in range(len(fit.components)) if k not in gone])
    return refined(bundle, settled(bundle, rest, touched), 3)


def jacobians(bundle: Bundle, fit: Shared, alike: Sequence[int]) -> np.ndarray:
    """Derivatives of curves with the same checkpoints by the centres and log widths of all components, in units of the
    noise, the linear part projected out, (curve, 2K, n)."""
    x = bundle.curves[alike[0]].x
    states = [fit.states[m] for m in alike]
    count, size = len(fit.components), max(len(state.coefficients) for state in states)
    sizes = np.zeros((len(alike), count))
    for i, (m, state) in enumerate(zip(alike, states, strict=True)):
        sizes[i, fit.of(m)] = state.coefficients[BEFORE:]
    if len(alike) == 1:
        rows, inverse = states[0].rows[None], states[0].inverse[None]
    else:
        rows, inverse = np.zeros((len(alike), size, len(x))), np.zeros((len(alike), size, size))
        for i, state in enumerate(states):
            p = len(state.coefficients)
            rows[i, :p], inverse[i, :p, :p] = state.rows, state.inverse
    slopes = np.stack([one.slopes(x) for one in fit.components]).reshape(1, 2 * count, len(x))
    each = np.repeat(sizes, 2, axis=1)[:, :, None] * slopes * rows[:, :1]
    return each - (each @ rows.swapaxes(1, 2)) @ inverse @ rows


def jacobian_of(bundle: Bundle, fit: Shared, m: int) -> np.ndarray:
    """Derivatives of curve m by the centres and log widths of its components, in units of the noise, (n, 2 own)."""
    own = [row for k in fit.of(m) for row in (2 * k, 2 * k + 1)]
    return jacobians(bundle, fit, [m])[0, own].T if own else np.zeros((len(bundle.curves[m].x), 0))


def normal_of(bundle: Bundle, fit: Shared, curves: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    """Normal matrix (2K, 2K) and gradient (2K,) of centres and log widths, summed over these curves."""
    size = 2 * len(fit.components)
    normal, gradient = np.zeros((size, size)), np.zeros(size)
    for alike in bundle.alike(m for m in curves if fit.of(m)):
        slopes = jacobians(bundle, fit, alike).swapaxes(0, 1).reshape(size, -1)
        normal += slopes @ slopes.T
        gradient += slopes @ np.concatenate([fit.states[m].residual for m in alike])
    for k, one in enumerate(fit.components):
        if one.shape in ("kink", "spike"):  # a kink keeps its width, a spike its checkpoint
            fixed = 2 * k + (one.shape == "kink")
            normal[fixed], normal[:, fixed], gradient[fixed] = 0.0, 0.0, 0.0
    return normal, gradient
