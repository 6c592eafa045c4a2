"""The search of a bundle: components are added while they pay, on nulls of two terms, of one, and on none."""

from __future__ import annotations

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
    settled,
    solved,
)
from devi.transitions.fit import Component, Shape
from devi.transitions.nulls import null_price, orthonormal
from devi.transitions.refinement import refined, with_components

READABLE = 15.0  # times the noise: the range of curves whose speed is worth reading
SMOOTHINGS = (0.03, 0.06, 0.12)  # decades: what is noise to broad steps are narrow ones to another curve
FEWEST_STEPS = 3  # peaks of the speed: fewer are found one by one
MOST = 10  # components of a bundle, spikes included
PATIENCE = 1  # components that may be added without paying: two kinks can pay where one does not
GAIN = 2.0  # of cost, below which a step is not taken
HOPELESS = 0.3  # of what the best atom saves: an atom of another shape that saves less is not tried
BETWEEN = 3  # nulls for which the next component is sought


def starts(bundle: Bundle) -> list[Shared]:
    """The cheapest fit without kinks, which can draw a ramp, and the cheapest with them.

    A null of two terms can hide what one of one, or none, shows.
    """

    def value(fit: Shared) -> float:
        return cost(bundle, fit)

    smooth = [_grown(bundle, 2, ("sigmoid", "ramp", "spike")), *_staircase(bundle)]
    kinked = [_grown(bundle, terms, ("sigmoid", "kink", "spike")) for terms in (1, 0)]
    return [min(smooth, key=value), min(kinked, key=value)]


def _staircase(bundle: Bundle) -> list[Shared]:
    """A sigmoid at each peak of the curves' speed, fitted together on no null, if they are many: greed melts them."""
    if np.median([curve.reach / np.median(curve.sigma) for curve in bundle.curves]) < READABLE:
        return []
    x = np.linspace(bundle.x[0], bundle.x[-1], 400)
    decade = min(1.0, float(x[-1] - x[0]))  # or the whole run, if that is shorter
    every = frozenset(range(len(bundle.curves)))
    tried = (_peaks(bundle, x, smoothing, decade) for smoothing in SMOOTHINGS)
    fits = [
        with_components(bundle, empty(bundle, terms=0), some, every, terms=0)
        for some in tried
        if len(some) >= FEWEST_STEPS
    ]
    return [regrouped(bundle, refined(bundle, fit, 15)) for fit in fits]


def _peaks(bundle: Bundle, x: np.ndarray, smoothing: float, decade: float) -> list[Component]:
    """A sigmoid at each peak of the speed of all curves together, along the even x."""
    kernel = smoothing * decade / (x[1] - x[0])
    speed = sum(
        np.abs(gaussian_filter1d(np.interp(x, curve.x, curve.y), kernel, order=1)) / curve.reach
        for curve in bundle.curves
    )
    peaks, found = find_peaks(np.concatenate([[0], speed, [0]]), prominence=0.1 * np.max(speed), width=1)
    if not len(peaks):
        return []
    order = np.argsort(found["prominences"])[::-1][:MOST]
    widths = np.clip(found["widths"][order] * (x[1] - x[0]), 0.05 * decade, 0.5 * decade)
    places = x[np.clip(peaks[order] - 1, 0, len(x) - 1)]
    return [Component("sigmoid", float(c), float(w)) for c, w in zip(places, widths, strict=True)]


def _grown(bundle: Bundle, terms: int, shapes: tuple[Shape, ...]) -> Shared:
    count = len(bundle.curves)
    fit = empty(bundle, terms=terms)
    best, value, idle = fit, cost(bundle, fit), 0
    gains: dict[int, np.ndarray] = {}
    stale = set(range(count))
    while len(fit.components) < MOST and idle <= PATIENCE:
        for m in stale:
            gains[m] = _gains(bundle, fit, m, terms)
        trials = [
            refined(bundle, settled(bundle, joined(fit, [one], who), sorted(who), terms=terms), 2)
            for one, who in _candidates(bundle, gains, shapes)
        ]
        if not trials:
            break
        grown = min(trials, key=lambda trial: cost(bundle, trial))
        moving = [m for m in range(count) if grown.of(m)]
        grown = refined(bundle, settled(bundle, grown, moving, terms=terms), 5)
        fit = regrouped(bundle, grown, terms=terms)
        stale = set(moving)
        now = cost(bundle, fit)
        idle = 0 if now < value - GAIN else idle + 1
        if now < value - GAIN:
            best, value = fit, now
    return best


def _gains(bundle: Bundle, fit: Shared, m: int, terms: int) -> np.ndarray:
    """What each atom would save in curve m, its amplitude paid, (K,); negative where it saves nothing."""
    atoms, norms, weight = bundle.grids[m].atoms, bundle.norms[m], bundle.weights[m]
    columns, search = columns_of(bundle, fit, m), bundle.searches[m]
    nulls = nulls_of(bundle, fit, m, keep=BETWEEN, terms=terms)
    shapes = sorted({shape for null in nulls for shape in null.columns})
    q = orthonormal(columns).T
    rows = np.concatenate([search.rows[shapes], search.y[None]])
    rows -= (rows @ q.T) @ q
    seen = (np.concatenate([q, rows]) * weight) @ atoms.T  # once for all nulls: the atoms are many
    inner = rows @ rows.T
    beside = norms - np.einsum("ik,ik->k", seen[: len(q)], seen[: len(q)])  # of each atom what the columns leave
    least, plain = np.full(len(norms), np.inf), np.inf
    for null in nulls:
        place = [shapes.index(shape) for shape in null.columns]
        onto, power, rss = seen[-1], beside, float(inner[-1, -1])
        if place:
            some = seen[[len(q) + i for i in place]]
            inverse = np.linalg.inv(inner[np.ix_(place, place)])
            sizes = inverse @ inner[place, -1]
            onto = onto - sizes @ some
            power = power - np.einsum("ik,ik->k", some, inverse @ some)
            rss -= float(sizes @ inner[place, -1])
        paid = rss + null_price(null.columns) * bundle.price(m)
        plain = min(plain, paid)
        least = np.minimum(least, paid - onto * onto / np.where(power < 1e-3, np.inf, power))
    return plain - least - bundle.price(m)


def _candidates(
    bundle: Bundle, gains: dict[int, np.ndarray], shapes: tuple[Shape, ...]
) -> list[tuple[Component, frozenset[int]]]:
    """The best atom of each shape, with the curves in which it saves something."""
    table = np.stack([gains[m] for m in range(len(bundle.curves))])  # (curve, K)
    grid = bundle.grids[0]
    price = np.where(grid.shapes == "kink", 1, 2) * bundle.shared_price
    score = np.maximum(table, 0.0).sum(0) - price
    score[~np.isin(grid.shapes, shapes)] = -np.inf
    least = max(HOPELESS * np.max(score), 0.0)
    best = [int(np.argmax(np.where(grid.shapes == shape, score, -np.inf))) for shape in shapes]
    return [
        (grid.kinds[k], frozenset(np.flatnonzero(table[:, k] > 0).tolist()))
        for k, shape in zip(best, shapes, strict=True)
        if score[k] > least and grid.shapes[k] == shape
    ]


def regrouped(bundle: Bundle, fit: Shared, *, terms: int = 2) -> Shared:
    """Curves join a component that saves more there than an amplitude costs, and leave one that does not."""
    if len(bundle.curves) == 1:
        return fit
    changed = False
    every = frozenset(range(len(bundle.curves)))
    for k in range(len(fit.components)):
        turned = solved(bundle, _with_members(fit, k, every - fit.members[k]), every)  # of each curve the other way
        for m in sorted(every):
            members = fit.members[k] ^ {m}
            if members and curve_cost(bundle, turned, m) < curve_cost(bundle, fit, m) - GAIN:
                fit, changed = settled(bundle, _with_members(fit, k, members), [m], terms=terms), True
    return refined(bundle, fit, 3) if changed else fit


def _with_members(fit: Shared, k: int, members: frozenset[int]) -> Shared:
    return fit._replace(members=(*fit.members[:k], members, *fit.members[k + 1 :]))
