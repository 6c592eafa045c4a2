"""Curves that share their changes: one date and width for all that move, an amplitude for each.

    y_m(x) = b_m0 + sum_j b_mj null_j(x) + sum_{k: m moves} a_mk shape_k(x; c_k, w_k) + noise_m,     x = log10(step)

A change too faint for any single curve is found if it is there in several at one date. The linear coefficients are
projected out of each curve (variable projection; Golub & Pereyra 1973), and the dates and widths of all components are
iterated together, by what all curves say of them.

The cost of a fit is its chi² plus log n for each amplitude, date and width and 2 log n for each null term (BIC).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from devi.transitions.curves import Curve
from devi.transitions.fit import Component, State, jacobian, moved, solve
from devi.transitions.grid import Grid
from devi.transitions.nulls import NullFit, NullSearch, null_price

LARGEST_SHARE = 1.25  # of the range: a larger change is a cancellation
FEWEST_SEEN = 8.0  # points that a curve counts for however correlated its noise
CANCELS = 20.0  # what such a cancellation costs


@dataclass(frozen=True)
class Shared:
    """members: of each component, the curves (indices) that move with it. nulls, states: one per curve."""

    components: tuple[Component, ...]
    members: tuple[frozenset[int], ...]
    nulls: tuple[tuple[int, ...], ...]
    states: tuple[State, ...]

    def of(self, m: int) -> list[int]:
        """Indices of the components that curve m moves with."""
        return [k for k, members in enumerate(self.members) if m in members]

    def amplitude(self, m: int, k: int) -> float:
        state = self.states[m]
        return float(state.coefficients[state.offset + self.of(m).index(k)])

    def observed(self, m: int, k: int, x: np.ndarray) -> float:
        """How much of the change curve m shows within the run (of a kink, what the new slope adds by its end)."""
        ends = self.components[k].column(x[[0, -1]])
        return abs(self.amplitude(m, k) * float(ends[1] - ends[0]))


@dataclass(frozen=True)
class Bundle:
    """Curves with sigma as their effective noise (autocorrelation included), and a grid for each."""

    curves: tuple[Curve, ...]
    grids: tuple[Grid, ...]

    @cached_property
    def x(self) -> np.ndarray:
        """The checkpoints of the longest curve."""
        return max((curve.x for curve in self.curves), key=len)

    @cached_property
    def atoms(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each curve the grid's atoms in units of the noise, (K, n), and their squared norms, (K,)."""
        result = []
        for curve, grid in zip(self.curves, self.grids, strict=True):
            weighted = np.ascontiguousarray((grid.atoms / curve.sigma[:, None]).T)
            result.append((weighted, np.einsum("kn,kn->k", weighted, weighted)))
        return result

    @cached_property
    def searches(self) -> list[NullSearch]:
        """Of each curve what finds its nulls."""
        pairs = zip(self.curves, self.grids, strict=True)
        return [NullSearch(grid.library, curve.sigma, curve.y / curve.sigma) for curve, grid in pairs]

    def price(self, m: int) -> float:
        """log n of curve m, n in independent points: BIC asks half of it of the log likelihood for a parameter."""
        curve = self.curves[m]
        return float(np.log(max(len(curve.x) / curve.inflation, FEWEST_SEEN)))

    @property
    def correction(self) -> float:
        """What a change must have beyond the evidence because one among so many columns was bound to look so, nats."""
        return float(np.log(max(curve.columns for curve in self.curves)))

    @property
    def shared_price(self) -> float:
        return float(np.log(len(self.x)))


def dates(one: Component) -> int:
    """Parameters that curves share: centre and width; the centre only of a kink."""
    return 1 if one.shape == "kink" else 2


def cost(bundle: Bundle, fit: Shared) -> float:
    total = sum(dates(one) for one in fit.components) * bundle.shared_price
    return total + sum(curve_cost(bundle, fit, m) for m in range(len(bundle.curves)))


def curve_cost(bundle: Bundle, fit: Shared, m: int) -> float:
    """chi² of one curve, the price of its amplitudes and its null, and of amplitudes that only cancel."""
    own, curve = fit.of(m), bundle.curves[m]
    most = LARGEST_SHARE * curve.reach
    cancelling = sum(fit.components[k].shape in ("sigmoid", "ramp") and fit.observed(m, k, curve.x) > most for k in own)
    return fit.states[m].rss + (null_price(fit.nulls[m]) + len(own)) * bundle.price(m) + CANCELS * cancelling


def columns_of(bundle: Bundle, fit: Shared, m: int) -> np.ndarray:
    """The constant and the components of curve m in units of its noise, (n, 1 + own)."""
    curve = bundle.curves[m]
    columns = [np.ones(len(curve.x)), *(fit.components[k].column(curve.x) for k in fit.of(m))]
    return np.stack(columns, axis=1) / curve.sigma[:, None]


def nulls_of(bundle: Bundle, fit: Shared, m: int, *, keep: int, terms: int) -> list[NullFit]:
    if terms == 0:
        return [NullFit((), 0.0)]
    return bundle.searches[m].best(columns_of(bundle, fit, m), keep=keep, terms=terms)


def solved(bundle: Bundle, fit: Shared, curves: Iterable[int]) -> Shared:
    """The linear coefficients of these curves anew."""
    states = list(fit.states)
    for m in curves:
        curve, search = bundle.curves[m], bundle.searches[m]
        base = np.column_stack([1.0 / curve.sigma, search.shapes[:, list(fit.nulls[m])]])
        components = tuple(fit.components[k] for k in fit.of(m))
        states[m] = solve(curve.x, search.y, curve.sigma, base, components)
    return replace(fit, states=tuple(states))


def settled(bundle: Bundle, fit: Shared, curves: Sequence[int], *, terms: int = 2) -> Shared:
    """The same components with the nulls of these curves chosen anew, of at most so many terms."""
    nulls = list(fit.nulls)
    for m in curves:
        nulls[m] = nulls_of(bundle, fit, m, keep=1, terms=terms)[0].columns
    return solved(bundle, replace(fit, nulls=tuple(nulls)), curves)


def empty(bundle: Bundle, *, terms: int = 2) -> Shared:
    """Nulls only."""
    count = len(bundle.curves)
    states = (State(np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0), 0, np.zeros(0), 0.0),) * count
    return settled(bundle, Shared((), (), ((),) * count, states), range(count), terms=terms)


def jacobian_of(bundle: Bundle, fit: Shared, m: int) -> np.ndarray:
    """Derivatives of curve m by the centres and log widths of its components, in units of the noise, (n, 2 own)."""
    curve = bundle.curves[m]
    return jacobian(curve.x, curve.sigma, tuple(fit.components[k] for k in fit.of(m)), fit.states[m])


def normal_of(bundle: Bundle, fit: Shared, curves: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    """Normal matrix (2K, 2K) and gradient (2K,) of centres and log widths, summed over these curves."""
    size = 2 * len(fit.components)
    normal, gradient = np.zeros((size, size)), np.zeros(size)
    for m in curves:
        own = fit.of(m)
        if not own:
            continue
        slopes = jacobian_of(bundle, fit, m)
        place = np.array([[2 * k, 2 * k + 1] for k in own]).ravel()
        normal[np.ix_(place, place)] += slopes.T @ slopes
        gradient[place] += slopes.T @ fit.states[m].residual
    for k, one in enumerate(fit.components):
        if one.shape in ("kink", "spike"):  # a kink keeps its width, a spike its checkpoint
            fixed = 2 * k + (one.shape == "kink")
            normal[fixed], normal[:, fixed], gradient[fixed] = 0.0, 0.0, 0.0
    return normal, gradient


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


def joined(fit: Shared, new: Sequence[Component], members: frozenset[int]) -> Shared:
    """The fit with more components, which move these curves; the states are those of before."""
    return replace(fit, components=(*fit.components, *new), members=(*fit.members, *(members for _ in new)))


def with_components(
    bundle: Bundle, fit: Shared, new: Sequence[Component], members: frozenset[int], *, terms: int = 2
) -> Shared:
    """The fit with more components, which move these curves; settled and refined."""
    grown = refined(bundle, settled(bundle, joined(fit, new, members), sorted(members), terms=terms), 5)
    return refined(bundle, settled(bundle, grown, sorted(members), terms=terms), 3)


def kept(fit: Shared, keep: Sequence[int]) -> Shared:
    """Only these components; the states are those of before."""
    return replace(fit, components=tuple(fit.components[k] for k in keep), members=tuple(fit.members[k] for k in keep))


def without(bundle: Bundle, fit: Shared, gone: Sequence[int]) -> Shared:
    """The fit without some components; their curves settled, the rest refined."""
    touched = sorted(frozenset().union(*(fit.members[k] for k in gone)))
    rest = kept(fit, [k for k in range(len(fit.components)) if k not in gone])
    return refined(bundle, settled(bundle, rest, touched), 3)
