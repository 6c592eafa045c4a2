"""Nulls: the slow curves that a run follows when nothing happens, on x = log10(step).

    exp(-(t/tau)^b)        b = 0.4 … 1      stretched exponentials; b = 1 spans 1.34 decades from 90 to 10%
    (1 + t/tau)^-a         a = 1/4 … 2      power laws
    x                                       logarithmic trend
    sigmoids and bends of 1.1 decades or more: slower than a transition may be

A null is a constant plus at most two of these, with free signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

LARGEST = 1.5  # of a curve's range: the amplitude of a null beside another
TEN_TO_NINETY = 2 * np.log(9.0)  # a logistic goes from 10% to 90% while its argument grows by this much


def sigmoid(x: np.ndarray, centre: np.ndarray | float, width: np.ndarray | float) -> np.ndarray:
    """Logistic step from 0 to 1 with 50% at `centre` and 10-90% span `width`, both in decades."""
    return 0.5 * (1.0 + np.tanh(0.5 * TEN_TO_NINETY * (x - centre) / width))


def bend(x: np.ndarray, centre: np.ndarray | float, width: np.ndarray | float) -> np.ndarray:
    """Integral of `sigmoid`: slope 0 before, slope 1 per decade after."""
    scale = width / TEN_TO_NINETY
    return scale * np.logaddexp(0.0, (x - centre) / scale)


class Library(NamedTuple):
    """shapes (n, shapes), each centred at 0, of range 1; relaxing (shapes,): False for late sigmoids and bends."""

    shapes: np.ndarray
    relaxing: np.ndarray


def relaxations(x: np.ndarray) -> Library:
    """The library on the checkpoints x (n,)."""
    t = 10.0**x
    lowest, highest = x[0] - 0.3, x[-1] + 0.7
    taus = 10.0 ** np.arange(lowest, highest, 0.2)
    columns = [x]
    for exponent in (0.4, 0.6, 0.8, 1.0):
        columns += [np.exp(-((t / tau) ** exponent)) for tau in taus]
    for exponent in (0.25, 0.5, 1.0, 2.0):
        columns += [(1.0 + t / tau) ** -exponent for tau in 10.0 ** np.arange(lowest - 0.5, highest, 0.5)]
    relaxing = len(columns)
    for width in (1.1, 1.5):
        columns += [sigmoid(x, centre, width) for centre in np.arange(x[0], x[-1], 0.25)]
    columns += [bend(x, centre, 1.1) for centre in np.arange(x[0] + 0.3, x[-1] - 0.3, 0.3)]
    shapes = np.stack(columns, axis=1)
    keep = np.ptp(shapes, axis=0) > 1e-3
    shapes = shapes[:, keep]
    return Library((shapes - shapes.mean(0)) / np.ptp(shapes, axis=0), (np.arange(len(keep)) < relaxing)[keep])


@dataclass(frozen=True)
class NullFit:
    """Columns of the library that were chosen, and the residual sum of squares with them."""

    columns: tuple[int, ...]
    rss: float


def best_nulls(library: Library, sigma: np.ndarray, fixed: np.ndarray, y: np.ndarray, *, keep: int) -> list[NullFit]:
    """The `keep` best nulls beside the columns `fixed` by the Bayesian information criterion; the plainest come last.

    sigma (n,) noise; fixed (n, k) and y (n,) divided by it. All pairs at once: after projecting out `fixed`, a pair
    (i, j) lowers the residual by (g_i² M_jj - 2 g_i g_j M_ij + g_j² M_ii) / (M_ii M_jj - M_ij²).
    """
    n = len(y)
    q = np.linalg.qr(fixed)[0]
    rest = y - q @ (q.T @ y)
    free = library.shapes / sigma[:, None]
    free = free - q @ (q.T @ free)
    g, m = free.T @ rest, free.T @ free
    own = np.maximum(np.diag(m), 1e-12)
    total = float(rest @ rest)
    single = np.where(own > 1e-6 * n, g**2 / own, 0.0)
    upper, lower = np.triu_indices(len(g), 1)
    det = own[upper] * own[lower] - m[upper, lower] ** 2
    a = (g[upper] * own[lower] - g[lower] * m[upper, lower]) / np.maximum(det, 1e-12)
    b = (g[lower] * own[upper] - g[upper] * m[upper, lower]) / np.maximum(det, 1e-12)
    # Two large terms that cancel, or two late sigmoids, can draw a change; a slow run is not made of them.
    bound = LARGEST * np.ptp(y * sigma)
    relaxing = library.relaxing[upper] | library.relaxing[lower]
    sane = relaxing & (det > 1e-4 * own[upper] * own[lower]) & (np.abs(a) < bound) & (np.abs(b) < bound)
    pair = np.where(sane, a * g[upper] + b * g[lower], 0.0)
    price = 2 * np.log(n)  # an amplitude and a time each
    options: list[tuple[float, tuple[int, ...]]] = [(total, ())]
    options += [(total - single[i] + price, (int(i),)) for i in np.argsort(single)[::-1][:keep]]
    options += [(total - pair[i] + 2 * price, (int(upper[i]), int(lower[i]))) for i in np.argsort(pair)[::-1][:keep]]
    options.sort(key=lambda option: option[0])
    chosen = options[:keep]
    for count in (1, 0):  # the plainer nulls too, for changes that a pair would only cancel
        if keep > 1 and all(len(columns) != count for _, columns in chosen):
            chosen.append(next(option for option in options if len(option[1]) == count))
    return [NullFit(columns, cost - len(columns) * price) for cost, columns in chosen]
