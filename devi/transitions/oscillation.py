"""Oscillation: a wiggle of one frequency in log10(step), or in steps, on a slow null, which no transition is.

    y_m(x) = null_m(x) + 10^(-d_m x) (a_m cos(2 pi f x) + b_m sin(2 pi f x)),     or t = 10^x in place of f's x

It is preferred over the changes that were found if it costs no more (chi² plus log n for each parameter) and
repeats at least PERIODS times within the run: for all curves that move, with one frequency, or for a curve by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from devi.transitions.bundle import Bundle, Shared, curve_cost, dates
from devi.transitions.nulls import NullFit, null_price, orthonormal

PERIODS = 2.0  # fewer repetitions are no oscillation but a few changes
SHORTEST = 0.15  # decades; a faster wiggle is noise to the detector
TRIED = 3  # peaks over frequency whose null is chosen anew
# Of what a wave costs beside the nulls that suit the curve without it, the least that it has cost with its null chosen
# anew: 0.66 in 360 curves of benchmarks/transition_cases.py (by hand). What cannot be enough is not computed.
LEFT = 0.6
MOST_PERIODS = 12.0  # in even steps: more within the run are noise to the detector


class Family(NamedTuple):
    """Waves that are looked for together.

    decays   d: a wiggle decays with its curve where a power law has a complex exponent. Frequencies are looked for with
             the first one, and their cost is that of the best.
    is_even  in steps, as epochs and cycles of the learning rate are, and not in their logarithm
    """

    decays: tuple[float, ...]
    is_even: bool

    def along(self, x: np.ndarray, last: float) -> np.ndarray:
        """What the wave is periodic in, (n,). last: log10 of the run's last step, the unit of even steps."""
        return 10 ** (x - last) if self.is_even else x

    def frequencies(self, x: np.ndarray) -> np.ndarray:
        span = float(np.ptp(self.along(x, x[-1])))
        highest = MOST_PERIODS / span if self.is_even else 1 / SHORTEST
        return np.arange(PERIODS / span, highest, 0.15 / span)


FAMILIES = (Family((0.0,), False), Family((0.3, 0.15, 0.6), False), Family((0.0,), True))


class Waves:
    """Oscillations of the curves of a bundle; what does not depend on a fit is computed once."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.frequencies = [family.frequencies(bundle.x) for family in FAMILIES]
        self._hopes: dict[int, list[np.ndarray]] = {}
        self._costs: dict[tuple[int, int, int], float] = {}

    def explaining(self, fit: Shared) -> set[int]:
        """The curves that an oscillation explains for no more than their changes cost."""
        bundle = self.bundle
        moving = [m for m in range(len(bundle.curves)) if fit.of(m)]
        changes = {
            m: curve_cost(bundle, fit, m)
            + sum(dates(fit.components[k]) * bundle.shared_price / len(fit.members[k]) for k in fit.of(m))
            for m in moving
        }
        if len(moving) > 1:
            hopes = [np.sum(of_each, axis=0) for of_each in zip(*(self.hopes(m) for m in moving), strict=True)]
            allowed = sum(changes.values()) - bundle.shared_price
            for wave in _promising(hopes, allowed):
                if sum(self.cost(m, *wave) for m in moving) <= allowed:
                    return set(moving)
        return {m for m in moving if self.is_enough(m, changes[m] - bundle.shared_price)}

    def is_enough(self, m: int, allowed: float) -> bool:
        """Whether an oscillation explains curve m for no more than this, its frequency not paid."""
        return any(self.cost(m, *wave) <= allowed for wave in _promising(self.hopes(m), allowed))

    def hopes(self, m: int) -> list[np.ndarray]:
        """Of each family what curve m costs with each wave by the nulls that suit it without one, (frequency,)."""
        if m not in self._hopes:
            self._hopes[m] = _hopes(self.bundle, m, self.frequencies)
        return self._hopes[m]

    def cost(self, m: int, family: int, k: int) -> float:
        """chi² and price of curve m as a null and a wave of frequency k, the frequency itself not paid."""
        if (m, family, k) not in self._costs:
            kind, frequency = FAMILIES[family], self.frequencies[family][k : k + 1]
            self._costs[m, family, k] = min(_cost(self.bundle, m, kind, frequency, decay) for decay in kind.decays)
        return self._costs[m, family, k]


def _promising(hopes: Sequence[np.ndarray], allowed: float) -> list[tuple[int, int]]:
    """(family, place) of waves that may cost no more than `allowed`; none in too short a run, which repeats nothing.

    Of each family the deepest valleys of what the frequencies cost, each with its neighbours.
    """
    found = []
    for family, own in enumerate(hopes):
        edge = [np.inf]
        valleys = np.flatnonzero(own <= np.fmin(np.concatenate([edge, own[:-1]]), np.concatenate([own[1:], edge])))
        deepest = valleys[np.argsort(own[valleys])][:TRIED]
        tried = np.unique(np.clip(np.add.outer(deepest, [-1, 0, 1]), 0, len(own) - 1))
        found += [(family, int(k)) for k in tried if LEFT * own[k] <= allowed]
    return found


def _waves(x: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Cosines and sines, (2, frequency, n)."""
    angle = 2 * np.pi * np.outer(frequencies, x)
    return np.stack([np.cos(angle), np.sin(angle)])


@lru_cache(maxsize=16)
def _remembered(x: bytes, frequencies: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The waves, and their products with each other, (2, 2, frequency, n)."""
    waves = _waves(np.frombuffer(x), np.frombuffer(frequencies))
    return waves, waves[:, None] * waves


def _hopes(bundle: Bundle, m: int, frequencies: Sequence[np.ndarray]) -> list[np.ndarray]:
    curve, search, weight = bundle.curves[m], bundle.searches[m], bundle.weights[m]
    hopes = [np.full(len(own), np.inf) for own in frequencies]
    for null in search.best(weight[:, None], keep=4):
        q = orthonormal(np.column_stack([weight, search.rows[list(null.columns)].T]))
        rest = search.y - q @ (q.T @ search.y)
        for place, (family, own) in enumerate(zip(FAMILIES, frequencies, strict=True)):
            along = family.along(curve.x, float(bundle.x[-1]))
            waves, products = _remembered(along.tobytes(), own.tobytes())
            envelope = weight * _decaying(curve.x, family.decays[0])
            norms = products @ envelope**2
            least = 1e-6 * norms[0, 0] * norms[1, 1]  # of the determinant: a wave that the null can draw gains nothing
            seen = waves @ (q * envelope[:, None])
            (cc, cs), (_, ss) = norms - np.einsum("afk,bfk->abf", seen, seen)
            gc, gs = waves @ (rest * envelope)
            gain = (gc**2 * ss - 2 * gc * gs * cs + gs**2 * cc) / np.maximum(cc * ss - cs**2, least)
            paid = null.rss - gain + _price(bundle, m, null, family.decays[0])
            hopes[place] = np.minimum(hopes[place], paid)
    return hopes


def _cost(bundle: Bundle, m: int, family: Family, frequency: np.ndarray, decay: float) -> float:
    x, weight = bundle.curves[m].x, bundle.weights[m]
    envelope = weight * _decaying(x, decay)
    cosine, sine = _waves(family.along(x, float(bundle.x[-1])), frequency)[:, 0]
    fixed = np.stack([weight, cosine * envelope, sine * envelope], axis=1)
    null = bundle.searches[m].best(fixed, keep=1)[0]
    return null.rss + _price(bundle, m, null, decay)


def _price(bundle: Bundle, m: int, null: NullFit, decay: float) -> float:
    """Of the null and of a wave's two amplitudes and decay."""
    return (null_price(null.columns) + (3 if decay else 2)) * bundle.price(m)


def _decaying(x: np.ndarray, power: float) -> np.ndarray:
    return 10 ** (-power * (x - x[0]))
