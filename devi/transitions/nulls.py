"""Nulls: the slow curves that a run follows when nothing happens, on x = log10(step).

    exp(-(t/tau)^b)        b = 0.4 … 1      stretched exponentials; b = 1 spans 1.34 decades from 90 to 10%
    (1 + t/tau)^-a         a = 1/4 … 2      power laws
    x                                       logarithmic trend
    sigmoids and bends of 1.1 decades or more: slower than a transition may be
    exp(-(s/tau)^b), (1 + s/tau)^-a         of s = t - (the first checkpoint), tau smaller than that: what began before
                                            a record that begins late, and dies away in it

A null is a constant plus at most two of these, with free signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dgeqrf, dorgqr

FIRST_TRIED = 64  # pairs of nulls whose amplitudes are looked at before those of all
LARGEST = 1.5  # of a curve's range: the amplitude of a null beside another
TEN_TO_NINETY = 2 * np.log(9.0)  # a logistic goes from 10% to 90% while its argument grows by this much


def sigmoid(x: np.ndarray, centre: np.ndarray | float, width: np.ndarray | float) -> np.ndarray:
    """Logistic step from 0 to 1 with 50% at `centre` and 10-90% span `width`, both in decades."""
    return 0.5 * (1.0 + np.tanh(0.5 * TEN_TO_NINETY * (x - centre) / width))


def bend(x: np.ndarray, centre: np.ndarray | float, width: np.ndarray | float) -> np.ndarray:
    """Integral of `sigmoid`: slope 0 before, slope 1 per decade after."""
    scale = width / TEN_TO_NINETY
    return scale * np.logaddexp(0.0, (x - centre) / scale)


def orthonormal(columns: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span what these do, (n, k) both; without the price of asking numpy for them."""
    reflectors, scales, _, _ = dgeqrf(columns)
    return dorgqr(reflectors, scales)[0]


class Library(NamedTuple):
    """shapes (n, shapes), each centred at 0, of range 1; relaxing (shapes,): False for late sigmoids and bends."""

    shapes: np.ndarray
    relaxing: np.ndarray


def begins_late(x: np.ndarray) -> bool:
    """Whether a record with checkpoints x, step 0 aside, begins so late that it may begin amid what began before."""
    first, second = 10.0 ** x[:2]
    return bool(2 * (second - first) < (1 - 1e-6) * first)  # not where it begins at 2k, every k


def relaxations(x: np.ndarray) -> Library:
    """The library on the checkpoints x (n,)."""
    t = 10.0**x
    lowest, highest = x[0] - 0.3, x[-1] + 0.7
    taus = 10.0 ** np.arange(lowest, highest, 0.25)
    columns = [x]
    for exponent in (0.4, 0.6, 0.8, 1.0):
        columns += [np.exp(-((t / tau) ** exponent)) for tau in taus]
    for exponent in (0.25, 0.5, 1.0, 2.0):
        columns += [(1.0 + t / tau) ** -exponent for tau in 10.0 ** np.arange(lowest - 0.5, highest, 0.5)]
    for tau in 10.0 ** np.arange(np.log10(2 * (t[1] - t[0])), x[0], 0.15) if begins_late(x) else ():
        since = (t - t[0]) / tau
        columns += [np.exp(-(since**exponent)) for exponent in (0.6, 0.8, 1.0)]
        columns += [(1.0 + since) ** -exponent for exponent in (0.5, 1.0, 2.0)]
    relaxing = len(columns)
    for width in (1.1, 1.5):
        columns += [sigmoid(x, centre, width) for centre in np.arange(x[0], x[-1], 0.25)]
    columns += [bend(x, centre, 1.1) for centre in np.arange(x[0] + 0.3, x[-1] - 0.3, 0.3)]
    shapes = np.stack(columns, axis=1)
    keep = np.ptp(shapes, axis=0) > 1e-3 * min(np.ptp(x), 1.0)  # in a short run the trend itself is small
    shapes = shapes[:, keep]
    return Library((shapes - shapes.mean(0)) / np.ptp(shapes, axis=0), (np.arange(len(keep)) < relaxing)[keep])


@dataclass(frozen=True)
class NullFit:
    """Columns of the library that were chosen, and the residual sum of squares with them."""

    columns: tuple[int, ...]
    rss: float


def null_price(columns: tuple[int, ...]) -> int:
    """Parameters of a null: an amplitude and a time a term; the log trend (column 0) has no time."""
    return sum(1 if column == 0 else 2 for column in columns)


class NullSearch:
    """Finds the best nulls of one curve beside any columns; what does not depend on those is computed once.

    sigma (n,) noise; y (n,) divided by it
    """

    def __init__(self, library: Library, sigma: np.ndarray, y: np.ndarray) -> None:
        self.y = y
        self.rows = np.ascontiguousarray(library.shapes.T) / sigma
        self.gram = self.rows @ self.rows.T
        self.onto = self.rows @ y
        self.price = np.log(len(y))
        self.first = int(library.relaxing.sum())  # late sigmoids and bends come last in the library
        self.single_price = self.price * np.where(np.arange(len(self.onto)) == 0, 1, 2)
        # Two large terms that cancel, or two late sigmoids, can draw a change; a slow run is not made of them.
        self.bound = LARGEST * np.ptp(y * sigma)

    def best(self, fixed: np.ndarray, *, keep: int, terms: int = 2) -> list[NullFit]:
        """The `keep` best nulls of at most `terms` beside the columns `fixed` (n, k), in units of the noise, by BIC.

        The plainest come last.
        """
        q = orthonormal(fixed)
        along = q.T @ self.y
        total = float(self.y @ self.y - along @ along)
        seen = self.rows @ q
        g = self.onto - seen @ along
        own = np.maximum(self.gram.diagonal() - (seen * seen).sum(1), 1e-12)
        single = np.where(own > 1e-6 * len(self.y), g**2 / own, 0.0) - self.single_price
        options: list[tuple[float, tuple[int, ...]]] = [(total, ())]
        options += [(total - single[i], (int(i),)) for i in np.argpartition(single, -keep)[-keep:]]
        options.sort(key=lambda option: option[0])
        if terms > 1:
            least = total - options[keep - 1][0]
            options += [(total - saved, pair) for saved, pair in self._pairs(g, own, seen, keep, least)]
            options.sort(key=lambda option: option[0])
        chosen = options[:keep]
        for count in (1, 0):  # the plainer nulls too, for changes that a pair would only cancel
            if keep > 1 and all(len(columns) != count for _, columns in chosen):
                chosen.append(next(option for option in options if len(option[1]) == count))
        return [NullFit(columns, cost - null_price(columns) * self.price) for cost, columns in chosen]

    def _pairs(
        self, g: np.ndarray, own: np.ndarray, seen: np.ndarray, keep: int, least: float
    ) -> list[tuple[float, tuple[int, int]]]:
        """The `keep` best pairs that save more than `least`, with what they save, their price paid.

        All pairs at once, but not two late sigmoids or bends: with m the inner products beside the fixed columns, j
        explains (g_j - m_ij g_i / m_ii)² / (m_jj - m_ij² / m_ii) of chi² more than i alone.
        """
        first = slice(self.first)
        a = g[first] / own[first]
        # The second is never the log trend, so all of them have one price.
        alone = a * g[first] - self.single_price[first] - self.single_price[-1]
        m = self.gram[first] - seen[first] @ seen.T
        more = m * -a[:, None]
        more += g
        more *= more
        rest = m * m
        rest *= -1 / own[first, None]
        rest += own
        with np.errstate(divide="ignore", invalid="ignore"):  # i beside itself
            more /= rest
        more += alone[:, None]
        places = np.flatnonzero(more > least)
        for most in (FIRST_TRIED, len(places)):  # few of the best fail
            best = places if len(places) <= most else places[np.argpartition(more.ravel()[places], -most)[-most:]]
            i, j = np.divmod(best, len(g))
            det, inner = own[i] * rest[i, j], m[i, j]
            good = (i < j) & (det > 1e-4 * own[i] * own[j])
            good &= np.abs(g[i] * own[j] - inner * g[j]) < self.bound * det
            good &= np.abs(g[j] * own[i] - inner * g[i]) < self.bound * det
            if len(best) == len(places) or good.sum() >= keep:
                break
        i, j = i[good], j[good]
        order = np.argsort(more[i, j])[: -keep - 1 : -1]
        return [(float(more[pair]), pair) for pair in zip(i[order].tolist(), j[order].tolist(), strict=True)]
