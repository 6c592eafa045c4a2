"""The search of a bundle: components are added while they pay, on nulls of two terms, of one, and on none."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from devi.transitions.bundle import (
    Bundle,
    Shared,
    columns_of,
    cost,
    curve_cost,
    empty,
    joined,
    nulls_of,
    refined,
    settled,
    solved,
    with_components,
)
from devi.transitions.fit import Component, Shape
from devi.transitions.nulls import null_price

CLEAR = 15.0  # times the noise: the range of curves whose speed is worth reading
FEWEST_STEPS = 3  # peaks of the speed: fewer are found one by one
MOST = 12  # components of a bundle, spikes included
SHAPES: tuple[Shape, ...] = ("sigmoid", "kink", "spike")
PATIENCE = 1  # components that may be added without paying: two kinks can pay where one does not
GAIN = 2.0  # of cost, below which a step is not taken
BETWEEN = 3  # nulls for which the next component is sought


def starts(bundle: Bundle) -> list[Shared]:
    """The cheapest fit without kinks, which can draw a ramp, and the cheapest with them.

    A null of two terms can hide what one of one, or none, shows.
    """

    def value(fit: Shared) -> float:
        return cost(bundle, fit)

    smooth = [_grown(bundle, 2, ("sigmoid", "ramp", "spike")), *_staircase(bundle)]
    kinked = [_grown(bundle, terms, SHAPES) for terms in (1, 0)]
    return [min(smooth, key=value), min(kinked, key=value)]


def _staircase(bundle: Bundle) -> list[Shared]:
    """A sigmoid at each peak of the curves' speed, fitted together on no null, if they are many: greed melts them."""
    if np.median([curve.reach / np.median(curve.sigma) for curve in bundle.curves]) < CLEAR:
        return []
    x = np.linspace(bundle.x[0], bundle.x[-1], 400)
    kernel = 0.03 / (x[1] - x[0])  # decades
    speed = sum(
        np.abs(gaussian_filter1d(np.interp(x, curve.x, curve.y), kernel, order=1)) / curve.reach
        for curve in bundle.curves
    )
    peaks, found = find_peaks(np.concatenate([[0], speed, [0]]), prominence=0.1 * np.max(speed), width=1)
    if len(peaks) < FEWEST_STEPS:
        return []
    order = np.argsort(found["prominences"])[::-1][:MOST]
    widths = np.clip(found["widths"][order] * (x[1] - x[0]), 0.05, 0.5)
    places = x[np.clip(peaks[order] - 1, 0, len(x) - 1)]
    steps = [Component("sigmoid", float(c), float(w)) for c, w in zip(places, widths, strict=True)]
    every = frozenset(range(len(bundle.curves)))
    fit = with_components(bundle, empty(bundle, terms=0), steps, every, terms=0)
    return [regrouped(bundle, refined(bundle, fit, 15))]


def regrown(bundle: Bundle, fit: Shared) -> Shared:
    """What more pays beside a fit from which something was taken."""
    return _grown(bundle, 2, SHAPES, fit)


def _grown(bundle: Bundle, terms: int, shapes: tuple[Shape, ...], start: Shared | None = None) -> Shared:
    fit = empty(bundle, terms=terms) if start is None else start
    best, value, idle = fit, cost(bundle, fit), 0
    gains: dict[int, _Gains] = {}
    stale = set(range(len(bundle.curves)))
    while len(fit.components) < MOST and idle <= PATIENCE:
        for m in stale:
            gains[m] = _gains(bundle, fit, m, terms, pairs="kink" in shapes)
        trials = [
            refined(bundle, settled(bundle, joined(fit, new, who), sorted(who), terms=terms), 2)
            for new, who in _candidates(bundle, gains, shapes)
        ]
        if not trials:
            break
        grown = min(trials, key=lambda trial: cost(bundle, trial))
        moving = [m for m in range(len(bundle.curves)) if grown.of(m)]
        grown = refined(bundle, settled(bundle, grown, moving, terms=terms), 5)
        fit = regrouped(bundle, grown, terms=terms)
        stale = set(moving)
        now = cost(bundle, fit)
        idle = 0 if now < value - GAIN else idle + 1
        if now < value - GAIN:
            best, value = fit, now
    return best


class _Gains(NamedTuple):
    """What each atom would save in a curve, its amplitude paid, (K,), and each pair of kinks (kinks, kinks) or none."""

    single: np.ndarray
    pair: np.ndarray | None


def _gains(bundle: Bundle, fit: Shared, m: int, terms: int, *, pairs: bool) -> _Gains:
    """Negative where nothing is saved: all are measured against the best null without the atom."""
    atoms, norms = bundle.atoms[m]
    kinks = bundle.grids[m].shapes == "kink"
    columns, search = columns_of(bundle, fit, m), bundle.searches[m]
    single, plain = np.full(len(norms), np.inf), np.inf
    pair = np.full((int(kinks.sum()), int(kinks.sum())), np.inf) if pairs else None
    for null in nulls_of(bundle, fit, m, keep=BETWEEN, terms=terms):
        q = np.linalg.qr(np.column_stack([columns, search.shapes[:, list(null.columns)]]))[0]
        rest = search.y - q @ (q.T @ search.y)
        seen = atoms @ np.column_stack([q, rest])
        along, onto = seen[:, :-1], seen[:, -1]
        power = norms - (along**2).sum(1)  # of each atom beside what is fitted already
        gain = np.where(power < 1e-3, 0.0, onto**2 / np.maximum(power, 1e-12))
        paid = float(rest @ rest) + null_price(null.columns) * bundle.price(m)
        plain = min(plain, paid)
        single = np.minimum(single, paid - gain)
        if pair is not None:
            g, own = onto[kinks], np.maximum(power[kinks], 1e-12)
            across = bundle.kink_gram[m] - along[kinks] @ along[kinks].T
            det = np.outer(own, own) - across**2
            both = np.outer(g**2, own) - 2 * np.outer(g, g) * across + np.outer(own, g**2)
            both = np.where(det > 1e-3 * np.outer(own, own), both / np.maximum(det, 1e-12), 0.0)
            pair = np.minimum(pair, paid - both)
    price = bundle.price(m)
    return _Gains(plain - single - price, None if pair is None else plain - pair - 2 * price)


def _candidates(
    bundle: Bundle, gains: dict[int, _Gains], shapes: tuple[Shape, ...]
) -> list[tuple[list[Component], frozenset[int]]]:
    """The best atom of each shape, and the best two kinks, with the curves in which they save something."""
    table = np.stack([gains[m].single for m in range(len(bundle.curves))])  # (curve, K)
    grid = bundle.grids[0]
    price = np.where(grid.shapes == "kink", 1, 2) * bundle.shared_price
    score = np.maximum(table, 0.0).sum(0) - price
    result = []
    for shape in shapes:
        k = int(np.argmax(np.where(grid.shapes == shape, score, -np.inf)))
        if grid.shapes[k] == shape and score[k] > 0:
            result.append(([grid.kinds[k]], frozenset(np.flatnonzero(table[:, k] > 0).tolist())))
    if gains[0].pair is not None:
        tables = np.stack([gains[m].pair for m in range(len(bundle.curves))])
        scores = np.maximum(tables, 0.0).sum(0) - 2 * bundle.shared_price
        i, j = (int(at) for at in np.unravel_index(np.argmax(scores), scores.shape))
        if scores[i, j] > 0:
            kinks = np.flatnonzero(grid.shapes == "kink")
            two = [grid.kinds[kinks[i]], grid.kinds[kinks[j]]]
            result.append((two, frozenset(np.flatnonzero(tables[:, i, j] > 0).tolist())))
    return result


def regrouped(bundle: Bundle, fit: Shared, *, terms: int = 2) -> Shared:
    """Curves join a component that saves more there than an amplitude costs, and leave one that does not."""
    changed = False
    for k in range(len(fit.components)):
        for m in range(len(bundle.curves)):
            members = fit.members[k] ^ {m}
            if not members:
                continue
            trial = replace(fit, members=(*fit.members[:k], frozenset(members), *fit.members[k + 1 :]))
            trial = solved(bundle, trial, [m])
            if curve_cost(bundle, trial, m) < curve_cost(bundle, fit, m) - GAIN:
                fit, changed = settled(bundle, trial, [m], terms=terms), True
    return refined(bundle, fit, 3) if changed else fit
