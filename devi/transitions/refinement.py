"""Refinement: dates and widths of all components of a fit, iterated together by what all curves say of them.

Damped Gauss-Newton steps with the linear coefficients projected out (variable projection; Kaufman's Jacobian 1975).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from devi.transitions.bundle import Bundle, Shared, joined, kept, settled, solved
from devi.transitions.fit import Component, moved, solve_positive

ARRIVED = 0.001  # of chi² that a step would gain: far below anything that decides


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
            damped = normal.copy()
            damped.ravel()[:: len(gradient) + 1] += damping * normal.diagonal() + 1e-9
            step = solve_positive(damped, gradient)
            if step @ gradient < ARRIVED and damping <= 1e-2:
                return fit
            trial = solved(bundle, fit._replace(components=moved(bundle.x, fit.components, step)), touched)
            now = sum(trial.states[m].rss for m in touched)
            if now < total:
                break
            damping *= 8
        else:
            break
        gained, total = total - now, now
        fit, damping = trial, max(damping / 4, 1e-6)
        if gained < 50 * ARRIVED:
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


def jacobian_of(bundle: Bundle, fit: Shared, m: int) -> np.ndarray:
    """Derivatives of curve m by the centres and log widths of its components, in units of the noise, the linear part
    projected out, (2 own, n)."""
    own, state = fit.of(m), fit.states[m]
    if not own:
        return np.zeros((0, len(bundle.curves[m].x)))
    pairs = zip(own, fit.amplitudes(m), strict=True)
    each = np.concatenate([bundle.slopes(fit.components[k], m) * amplitude for k, amplitude in pairs])
    each *= bundle.weights[m]
    each -= (each @ state.rows.T) @ state.inverse @ state.rows
    return each


def normal_of(bundle: Bundle, fit: Shared, curves: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    """Normal matrix (2K, 2K) and gradient (2K,) of centres and log widths, summed over these curves."""
    size = 2 * len(fit.components)
    normal, gradient = np.zeros((size, size)), np.zeros(size)
    for m in curves:
        own, slopes = fit.of(m), jacobian_of(bundle, fit, m)
        if len(own) == len(fit.components):
            normal += slopes @ slopes.T
            gradient += slopes @ fit.states[m].residual
        else:
            place = [row for k in own for row in (2 * k, 2 * k + 1)]
            normal[np.ix_(place, place)] += slopes @ slopes.T
            gradient[place] += slopes @ fit.states[m].residual
    for k, one in enumerate(fit.components):
        if one.shape in ("kink", "spike"):  # a kink keeps its width, a spike its checkpoint
            fixed = 2 * k + (one.shape == "kink")
            normal[fixed], normal[:, fixed], gradient[fixed] = 0.0, 0.0, 0.0
    return normal, gradient
