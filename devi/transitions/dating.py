"""Dates of a curve's own, and how far they may be off.

Curves that change together do so within a small lag. With d the shared centre and log width and d + u a curve's own,

    u = argmin chi²_m(d + u) + (u_centre / LAG)² + (u_width / SPREAD)²

A clear curve keeps its own dates, a faint one takes those of the others.

How far they may be off is a parametric bootstrap of REPLICATES runs: noise is drawn for every curve, with the variance
and the lag-one correlation that its residuals have, and all dates are fitted again by one Gauss-Newton step from where
they are (a one-step bootstrap; Andrews 2002, Econometrica 70:119). Each run also takes one of the nulls that fit nearly
as well as the best one, by its weight exp(-cost / 2) among them: other noise would have chosen another, and beside a
slow null that falls itself a change lies elsewhere for each.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter

from devi.transitions.bundle import Bundle, Shared, curve_cost, nulls_of, solved
from devi.transitions.fit import Component, moved
from devi.transitions.refinement import jacobian_of, normal_of

LAG = 0.05  # decades
SPREAD = 0.3  # of log width
ROUNDS = 4
REPLICATES = 200
RIVALS = 24  # nulls, the best one among them
MOST_MOVED = 0.5  # decades, and of log width: one step leads no further
QUIETEST = 0.3  # of the assumed variance: what lies far below the noise that was assumed the fit has not looked at


class Dates(NamedTuple):
    """Components of a curve at its own dates, amplitudes (k,), deviations (2k, REPLICATES) of centres, log widths."""

    parts: list[Component]
    amplitudes: np.ndarray
    deviations: np.ndarray


def replicated(bundle: Bundle, fit: Shared, *, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """For drawn noise and nulls: what each curve asks of its dates, (2 own, R), and how the shared move, (2K, R)."""
    random = np.random.default_rng(seed)
    pulls = []
    total = np.zeros((2 * len(fit.components), REPLICATES))
    for m in range(len(bundle.curves)):
        noise = drawn_noise(fit.states[m].residual, random)
        own = fit.of(m)
        pull = jacobian_of(bundle, fit, m) @ noise
        if own:
            asked, weights = _pulls_of_nulls(bundle, fit, m)
            taken = random.choice(len(weights), size=REPLICATES, p=weights)
            pull += asked[:, taken] * random.choice([-1.0, 1.0], size=REPLICATES)
        pulls.append(pull)
        for j, k in enumerate(own):
            total[2 * k : 2 * k + 2] += pull[2 * j : 2 * j + 2]
    normal = normal_of(bundle, fit, range(len(bundle.curves)))[0]
    free = np.diag(normal) > 0
    return pulls, np.linalg.pinv(normal, rcond=1e-10, hermitian=True) @ (total * free[:, None])


def _pulls_of_nulls(bundle: Bundle, fit: Shared, m: int) -> tuple[np.ndarray, np.ndarray]:
    """What each of the best nulls asks of the dates of curve m, (2 own, null), and its weight among them, (null,)."""
    pulls, costs = [], []
    normal = _normal_of_own(bundle, fit, m)
    free = np.diag(normal)[:, None] > 0
    for null in nulls_of(bundle, fit, m, keep=RIVALS, terms=2):
        rival = solved(bundle, fit._replace(nulls=(*fit.nulls[:m], null.columns, *fit.nulls[m + 1 :])), [m])
        slopes = jacobian_of(bundle, rival, m) * free
        own, gradient = slopes @ slopes.T, slopes @ rival.states[m].residual
        step = np.clip(np.linalg.pinv(own, rcond=1e-10, hermitian=True) @ gradient, -MOST_MOVED, MOST_MOVED)
        pulls.append(normal @ step)
        costs.append(curve_cost(bundle, rival, m) - step @ (2 * gradient - own @ step))
    weights = np.exp(-0.5 * (np.array(costs) - min(costs)))
    return np.stack(pulls, axis=1), weights / weights.sum()


def _normal_of_own(bundle: Bundle, fit: Shared, m: int) -> np.ndarray:
    """What curve m says of the dates of its own components, (2 own, 2 own)."""
    place = _places(fit.of(m))
    return normal_of(bundle, fit, [m])[0][np.ix_(place, place)]


def _places(own: list[int]) -> np.ndarray:
    """Of the centre and log width of each of these components among those of all."""
    return np.array([[2 * k, 2 * k + 1] for k in own]).ravel()


def drawn_noise(residual: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """AR(1) noise with the variance and the lag-one correlation of a residual (n,), (n, REPLICATES)."""
    variance = max(float(np.mean(residual**2)), QUIETEST)
    rho = float(np.clip(residual[1:] @ residual[:-1] / max(residual @ residual, 1e-12), 0.0, 0.95))
    white = random.normal(size=(len(residual), REPLICATES))
    white[1:] *= np.sqrt(1 - rho**2)
    return np.sqrt(variance) * lfilter([1.0], [1.0, -rho], white, axis=0)


def dated(bundle: Bundle, fit: Shared, m: int, pull: np.ndarray, together: np.ndarray) -> Dates:
    """The dates of curve m. pull, together: `replicated`, of this curve and of all."""
    own = fit.of(m)
    place = _places(own)
    alone = np.repeat([len(fit.members[k]) == 1 for k in own], 2)
    hold = np.where(alone, 1e9, np.tile([LAG**-2, SPREAD**-2], len(own)))
    asked = np.zeros(len(place))
    for _ in range(0 if alone.all() else ROUNDS):
        normal, gradient = (part[place] for part in normal_of(bundle, fit, [m]))
        step = np.linalg.solve(normal[:, place] + np.diag(hold), gradient - hold * asked)
        components = list(fit.components)
        parts = tuple(components[k] for k in own)
        for k, one in zip(own, moved(bundle.x, parts, step), strict=True):
            components[k] = one
        trial = solved(bundle, fit._replace(components=tuple(components)), [m])
        gone = asked + step
        if trial.states[m].rss + hold @ gone**2 >= fit.states[m].rss + hold @ asked**2:
            break
        fit, asked = trial, gone
    normal = _normal_of_own(bundle, fit, m)
    free = np.diag(normal) > 0
    shared = together[place]
    deviations = np.linalg.solve(normal + np.diag(hold), pull * free[:, None] + hold[:, None] * shared)
    return Dates([fit.components[k] for k in own], np.array([fit.amplitude(m, k) for k in own]), deviations)
