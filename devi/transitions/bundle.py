"""Curves that share their changes: one date and width for all that move, an amplitude for each.

    y_m(x) = b_m0 + sum_j b_mj null_j(x) + sum_{k: m moves} a_mk shape_k(x; c_k, w_k) + noise_m,     x = log10(step)

A change too faint for any single curve is found if it is there in several at one date. The linear coefficients are
projected out of each curve (variable projection; Golub & Pereyra 1973); dates and widths are found by refinement.py.

The cost of a fit is its chi² plus log n for each amplitude, date and width and 2 log n for each null term (BIC), and
what `curve_cost` asks of amplitudes that cancel.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from devi.transitions.curves import Curve
from devi.transitions.fit import Component, State, solve
from devi.transitions.grid import Grid
from devi.transitions.noise import local_noise, shared_noise
from devi.transitions.nulls import NullFit, NullSearch, null_price

LARGEST_SHARE = 1.35  # of the range: a larger change is a cancellation; one against a trend may exceed it by less
FEWEST_SEEN = 8.0  # points that a curve counts for however correlated its noise
MOST_ADDED = 2.0  # the same of a kink, whose rise a later one may end
CANCELS = 20.0  # what such a cancellation costs
STEPS = ("sigmoid", "ramp")
REMEMBERED = 256  # columns of components, of each bundle


class Shared(NamedTuple):
    """members: of each component, the curves (indices) that move with it. nulls, states: one per curve."""

    components: tuple[Component, ...]
    members: tuple[frozenset[int], ...]
    nulls: tuple[tuple[int, ...], ...]
    states: tuple[State, ...]

    def of(self, m: int) -> list[int]:
        """Indices of the components that curve m moves with."""
        return [k for k, members in enumerate(self.members) if m in members]

    def amplitudes(self, m: int) -> list[float]:
        """Of the components that curve m moves with; its coefficients begin with the constant and the null terms."""
        return self.states[m].coefficients[1 + len(self.nulls[m]) :].tolist()

    def amplitude(self, m: int, k: int) -> float:
        return self.amplitudes(m)[self.of(m).index(k)]


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
    def norms(self) -> list[np.ndarray]:
        """Of each curve the squared norms of the grid's atoms in units of the noise, (K,)."""
        return [grid.squares @ weight**2 for grid, weight in zip(self.grids, self.weights, strict=True)]

    @cached_property
    def weights(self) -> list[np.ndarray]:
        return [1.0 / curve.sigma for curve in self.curves]

    @cached_property
    def group_of(self) -> list[int]:
        """Of each curve the first one that has the same checkpoints."""
        first: dict[bytes, int] = {}
        return [first.setdefault(curve.x.tobytes(), m) for m, curve in enumerate(self.curves)]

    @cached_property
    def column(self) -> Callable[[Component, int], np.ndarray]:
        """Of a component the column on the checkpoints of curve m, (n,)."""
        seen = lru_cache(REMEMBERED)(lambda one, first: one.column(self.curves[first].x))
        return lambda one, m: seen(one, self.group_of[m])

    @cached_property
    def slopes(self) -> Callable[[Component, int], np.ndarray]:
        """Of a component the derivatives by centre and log width on the checkpoints of curve m, (2, n)."""
        seen = lru_cache(REMEMBERED)(lambda one, first: one.slopes(self.curves[first].x))
        return lambda one, m: seen(one, self.group_of[m])

    @cached_property
    def searches(self) -> list[NullSearch]:
        """Of each curve what finds its nulls."""
        pairs = zip(self.curves, self.grids, strict=True)
        return [NullSearch(grid.library, curve.sigma, curve.y / curve.sigma) for curve, grid in pairs]

    def price(self, m: int) -> float:
        """log n of curve m, n in independent points: BIC asks half of it of the log likelihood for a parameter."""
        curve = self.curves[m]
        return float(np.log(max(len(curve.x) / curve.inflation, FEWEST_SEEN)))

    @cached_property
    def repeated(self) -> np.ndarray:
        """(M, M): how much of two curves' noise is the same, 0 to 1, as that of losses on one batch.

        Noise below what was assumed (the floor under smooth curves) counts that much less.
        """

        @cache
        def felt(m: int) -> float:
            curve = self.curves[m]
            assumed = np.median(curve.sigma) / np.sqrt(curve.inflation)
            return min(1.0, float(np.median(local_noise(curve.x, curve.y)) / assumed))

        repeated = np.eye(len(self.curves))
        for i, j in itertools.combinations(range(len(self.curves)), 2):
            if self.group_of[i] == self.group_of[j]:
                shared = shared_noise(self.curves[i].x, self.curves[i].y, self.curves[j].y)
                if shared:
                    repeated[i, j] = repeated[j, i] = shared * felt(i) * felt(j)
        return repeated

    def own_share(self, members: Collection[int]) -> float:
        """How much of the summed evidence of these curves is no repetition of the others': 1 / M of M copies."""
        some = sorted(members)
        return len(some) / float(self.repeated[np.ix_(some, some)].sum())

    @property
    def correction(self) -> float:
        """What a change must have beyond the evidence because one of so many searches was bound to look so, nats."""
        return float(np.log(max(curve.searches for curve in self.curves)))

    @property
    def shared_price(self) -> float:
        return float(np.log(len(self.x)))


def dates(one: Component) -> int:
    """Parameters that curves share: centre and width; the centre only of a kink."""
    return 1 if one.shape == "kink" else 2


def cost(bundle: Bundle, fit: Shared) -> float:
    total = sum(dates(one) for one in fit.components) * bundle.shared_price
    return total + sum(curve_cost(bundle, fit, m) for m in range(len(bundle.curves)))


def sober_cost(bundle: Bundle, fit: Shared) -> float:
    """The same, where what the noise of several curves repeats counts once: many copies make any wiggle pay."""
    every = range(len(bundle.curves))
    shared = sum(dates(one) for one in fit.components) * bundle.shared_price
    return shared + bundle.own_share(every) * (cost(bundle, fit) - shared)


def curve_cost(bundle: Bundle, fit: Shared, m: int) -> float:
    """chi² of one curve, the price of its amplitudes and its null, and of amplitudes that only cancel.

    What a kink adds within the run has a normal prior as wide as the curve's range, which costs (added / range)²: two
    kinks that cancel could draw the bends of any slow null.
    """
    own, curve, state = fit.of(m), bundle.curves[m], fit.states[m]
    total = state.rss + (null_price(fit.nulls[m]) + len(own)) * bundle.price(m)
    for k, amplitude in zip(own, fit.amplitudes(m), strict=True):
        one = fit.components[k]
        if one.shape == "kink":
            added = observed(bundle, one, amplitude, m) / curve.reach
            total += added**2 + CANCELS * (added > MOST_ADDED)
        elif one.shape in STEPS and abs(amplitude) > LARGEST_SHARE * curve.reach:
            total += CANCELS * (observed(bundle, one, amplitude, m) > LARGEST_SHARE * curve.reach)
    return total


def observed(bundle: Bundle, one: Component, amplitude: float, m: int) -> float:
    """How much of a change curve m shows within the run (of a kink, what the new slope adds by its end)."""
    column = bundle.column(one, m)
    return abs(amplitude * float(column[-1] - column[0]))


def columns_of(bundle: Bundle, fit: Shared, m: int) -> np.ndarray:
    """The constant and the components of curve m in units of its noise, (n, 1 + own)."""
    return np.stack([bundle.weights[m], *_weighted(bundle, fit, m)], axis=1)


def _weighted(bundle: Bundle, fit: Shared, m: int) -> list[np.ndarray]:
    """The components of curve m in units of its noise, (n,) each."""
    return [bundle.column(fit.components[k], m) * bundle.weights[m] for k in fit.of(m)]


def nulls_of(bundle: Bundle, fit: Shared, m: int, *, keep: int, terms: int) -> list[NullFit]:
    if terms == 0:
        return [NullFit((), 0.0)]
    return bundle.searches[m].best(columns_of(bundle, fit, m), keep=keep, terms=terms)


def solved(bundle: Bundle, fit: Shared, curves: Iterable[int]) -> Shared:
    """The linear coefficients of these curves anew."""
    states = list(fit.states)
    for m in curves:
        search = bundle.searches[m]
        nulls = (search.rows[shape] for shape in fit.nulls[m])
        states[m] = solve(np.array([bundle.weights[m], *nulls, *_weighted(bundle, fit, m)]), search.y)
    return fit._replace(states=tuple(states))


def settled(bundle: Bundle, fit: Shared, curves: Sequence[int], *, terms: int = 2) -> Shared:
    """The same components with the nulls of these curves chosen anew, of at most so many terms."""
    nulls = list(fit.nulls)
    for m in curves:
        nulls[m] = nulls_of(bundle, fit, m, keep=1, terms=terms)[0].columns
    return solved(bundle, fit._replace(nulls=tuple(nulls)), curves)


def empty(bundle: Bundle, *, terms: int = 2) -> Shared:
    """Nulls only."""
    count = len(bundle.curves)
    states = (State(np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0), np.zeros(0), 0.0),) * count
    return settled(bundle, Shared((), (), ((),) * count, states), range(count), terms=terms)


def joined(fit: Shared, new: Sequence[Component], members: frozenset[int]) -> Shared:
    """The fit with more components, which move these curves; the states are those of before."""
    return fit._replace(components=(*fit.components, *new), members=(*fit.members, *(members for _ in new)))


def kept(fit: Shared, keep: Sequence[int]) -> Shared:
    """Only these components; the states are those of before."""
    return fit._replace(components=tuple(fit.components[k] for k in keep), members=tuple(fit.members[k] for k in keep))
