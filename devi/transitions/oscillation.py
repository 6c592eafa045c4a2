"""Log-periodic oscillation: a wiggle of one frequency in log10(step) on a slow null, which no transition is.

    y_m(x) = null_m(x) + a_m cos(2 pi f x) + b_m sin(2 pi f x)

It is preferred over the changes that were found if it costs no more (chi² plus log n for each parameter) and
repeats at least PERIODS times within the run: for all curves that move, with one frequency, or for a curve by itself.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from devi.transitions.bundle import Bundle, Shared, curve_cost, dates
from devi.transitions.nulls import null_price

PERIODS = 2.0  # fewer repetitions are no oscillation but a few changes
SHORTEST = 0.15  # decades; a faster wiggle is noise to the detector
TRIED = 4  # frequencies whose null is chosen anew


class Waves:
    """Oscillations of the curves of a bundle; what does not depend on a fit is computed once."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        span = float(bundle.x[-1] - bundle.x[0])
        self.frequencies = np.arange(PERIODS / span, 1 / SHORTEST, 0.15 / span)
        self._gains: dict[int, np.ndarray] = {}
        self._costs: dict[tuple[int, int], float] = {}

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
            together = np.sum([self.gains(m) for m in moving], axis=0)
            for k in np.argsort(together)[::-1][:TRIED]:
                waves = sum(self.cost(m, int(k)) for m in moving) + bundle.shared_price
                if waves <= sum(changes.values()):
                    return set(moving)
        return {m for m in moving if self.cheapest(m) + bundle.shared_price <= changes[m]}

    def cheapest(self, m: int) -> float:
        tried = np.argsort(self.gains(m))[::-1][:TRIED]
        return min((self.cost(m, int(k)) for k in tried), default=np.inf)  # too short a run repeats nothing

    def gains(self, m: int) -> np.ndarray:
        """What each frequency lowers chi² of curve m by, beside the best nulls, (frequency,)."""
        if m not in self._gains:
            self._gains[m] = _gains(self.bundle, m, self.frequencies)
        return self._gains[m]

    def cost(self, m: int, k: int) -> float:
        """chi² and price of curve m as a null and a wave of frequency k, the frequency itself not paid."""
        if (m, k) not in self._costs:
            self._costs[m, k] = _cost(self.bundle, m, float(self.frequencies[k]))
        return self._costs[m, k]


def _waves(x: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Cosines and sines, (2, frequency, n)."""
    angle = 2 * np.pi * np.outer(frequencies, x)
    return np.stack([np.cos(angle), np.sin(angle)])


@lru_cache(maxsize=8)
def _remembered(x: bytes, frequencies: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The waves, and their products with each other, (2, 2, frequency, n)."""
    waves = _waves(np.frombuffer(x), np.frombuffer(frequencies))
    return waves, waves[:, None] * waves


def _gains(bundle: Bundle, m: int, frequencies: np.ndarray) -> np.ndarray:
    curve, search, weight = bundle.curves[m], bundle.searches[m], bundle.weights[m]
    waves, products = _remembered(curve.x.tobytes(), frequencies.tobytes())
    products = products @ weight**2
    least = 1e-6 * products[0, 0] * products[1, 1]  # of the determinant: a wave that the null can draw gains nothing
    gains = np.zeros(len(frequencies))
    for null in search.best(weight[:, None], keep=4):
        q = np.linalg.qr(np.column_stack([weight, search.rows[list(null.columns)].T]))[0]
        rest = search.y - q @ (q.T @ search.y)
        along = waves @ (q * weight[:, None])
        (cc, cs), (_, ss) = products - np.einsum("afk,bfk->abf", along, along)
        gc, gs = waves @ (rest * weight)
        gains = np.maximum(gains, (gc**2 * ss - 2 * gc * gs * cs + gs**2 * cc) / np.maximum(cc * ss - cs**2, least))
    return gains


def _cost(bundle: Bundle, m: int, frequency: float) -> float:
    x, weight = bundle.curves[m].x, bundle.weights[m]
    cosine, sine = _waves(x, np.array([frequency]))[:, 0]
    fixed = np.stack([weight, cosine * weight, sine * weight], axis=1)
    null = bundle.searches[m].best(fixed, keep=1)[0]
    return null.rss + (null_price(null.columns) + 2) * bundle.price(m)
