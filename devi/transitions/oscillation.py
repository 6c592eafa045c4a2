"""Log-periodic oscillation: a wiggle of one frequency in log10(step) on a slow null, which no transition is.

    y_m(x) = null_m(x) + 10^(-d_m x) (a_m cos(2 pi f x) + b_m sin(2 pi f x))

It is preferred over the changes that were found if it costs no more (chi² plus log n for each parameter) and
repeats at least PERIODS times within the run: for all curves that move, with one frequency, or for a curve by itself.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from devi.transitions.bundle import Bundle, Shared, curve_cost, dates
from devi.transitions.nulls import NullFit, null_price, orthonormal

PERIODS = 2.0  # fewer repetitions are no oscillation but a few changes
SHORTEST = 0.15  # decades; a faster wiggle is noise to the detector
TRIED = 3  # peaks over frequency whose null is chosen anew
# Of what a wave costs beside the nulls that suit the curve without it, the least that it has cost with its null chosen
# anew: 0.66 in 360 curves of benchmarks/transition_cases.py. What cannot be enough is not computed.
LEFT = 0.6
# d: a wiggle decays with its curve where a power law has a complex exponent. Frequencies are looked for with the first
# of a family, and their cost is that of its best.
DECAYS = ((0.0,), (0.3, 0.15, 0.6))


class Waves:
    """Oscillations of the curves of a bundle; what does not depend on a fit is computed once."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        span = float(bundle.x[-1] - bundle.x[0])
        self.frequencies = np.arange(PERIODS / span, 1 / SHORTEST, 0.15 / span)
        self._hopes: dict[int, np.ndarray] = {}
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
            hopes, allowed = (
                np.sum([self.hopes(m) for m in moving], axis=0),
                sum(changes.values()) - bundle.shared_price,
            )
            for wave in _promising(hopes, allowed):
                if sum(self.cost(m, *wave) for m in moving) <= allowed:
                    return set(moving)
        return {m for m in moving if self.is_enough(m, changes[m] - bundle.shared_price)}

    def is_enough(self, m: int, allowed: float) -> bool:
        """Whether an oscillation explains curve m for no more than this, its frequency not paid."""
        return any(self.cost(m, *wave) <= allowed for wave in _promising(self.hopes(m), allowed))

    def hopes(self, m: int) -> np.ndarray:
        """What curve m costs with each wave by the nulls that suit it without one, (family of decays, frequency)."""
        if m not in self._hopes:
            self._hopes[m] = _hopes(self.bundle, m, self.frequencies)
        return self._hopes[m]

    def cost(self, m: int, family: int, k: int) -> float:
        """chi² and price of curve m as a null and a wave of frequency k, the frequency itself not paid."""
        if (m, family, k) not in self._costs:
            self._costs[m, family, k] = min(
                _cost(self.bundle, m, float(self.frequencies[k]), decay) for decay in DECAYS[family]
            )
        return self._costs[m, family, k]


def _promising(hopes: np.ndarray, allowed: float) -> list[tuple[int, int]]:
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


@lru_cache(maxsize=8)
def _remembered(x: bytes, frequencies: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The waves, and their products with each other, (2, 2, frequency, n)."""
    waves = _waves(np.frombuffer(x), np.frombuffer(frequencies))
    return waves, waves[:, None] * waves


def _hopes(bundle: Bundle, m: int, frequencies: np.ndarray) -> np.ndarray:
    curve, search, weight = bundle.curves[m], bundle.searches[m], bundle.weights[m]
    waves, products = _remembered(curve.x.tobytes(), frequencies.tobytes())
    hopes = np.full((len(DECAYS), len(frequencies)), np.inf)
    for null in search.best(weight[:, None], keep=4):
        q = orthonormal(np.column_stack([weight, search.rows[list(null.columns)].T]))
        rest = search.y - q @ (q.T @ search.y)
        for family, decays in enumerate(DECAYS):
            envelope = weight * _decaying(curve.x, decays[0])
            own = products @ envelope**2
            least = 1e-6 * own[0, 0] * own[1, 1]  # of the determinant: a wave that the null can draw gains nothing
            along = waves @ (q * envelope[:, None])
            (cc, cs), (_, ss) = own - np.einsum("afk,bfk->abf", along, along)
            gc, gs = waves @ (rest * envelope)
            gain = (gc**2 * ss - 2 * gc * gs * cs + gs**2 * cc) / np.maximum(cc * ss - cs**2, least)
            hopes[family] = np.minimum(hopes[family], null.rss - gain + _price(bundle, m, null, decays[0]))
    return hopes


def _cost(bundle: Bundle, m: int, frequency: float, decay: float) -> float:
    x, weight = bundle.curves[m].x, bundle.weights[m]
    envelope = weight * _decaying(x, decay)
    cosine, sine = _waves(x, np.array([frequency]))[:, 0]
    fixed = np.stack([weight, cosine * envelope, sine * envelope], axis=1)
    null = bundle.searches[m].best(fixed, keep=1)[0]
    return null.rss + _price(bundle, m, null, decay)


def _price(bundle: Bundle, m: int, null: NullFit, decay: float) -> float:
    """Of the null and of a wave's two amplitudes and decay."""
    return (null_price(null.columns) + (3 if decay else 2)) * bundle.price(m)


def _decaying(x: np.ndarray, power: float) -> np.ndarray:
    return 10 ** (-power * (x - x[0]))
