"""Exchanges in a fit: components for others that explain the same curves, and a shared date for dates of one's own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from devi.transitions.bundle import Bundle, Shared, cost, dates, joined, kept, settled, solved
from devi.transitions.fit import WIDEST, Component
from devi.transitions.grid import SHARP, SLOW
from devi.transitions.refinement import normal_of, refined
from devi.transitions.search import GAIN, regrouped

HOPEFUL = 15.0  # of cost: an exchange that looks worse than this before its dates are fitted is not tried further
RARER = 6.0  # of cost, by which kinks must beat the ramp or sigmoid that they replace: two kinks can draw any ramp
WIDE = 0.4  # decades: a narrower change is not looked at as two
APART = 0.4  # of a wide change's 10-90% span: from its middle to each of the two steps that it is taken apart into
HALF = 0.3  # of the same span: what each of the two has
CORNER = 0.625  # of a ramp's 10-90% span, from its middle to its corner


def exchanged(bundle: Bundle, fit: Shared) -> Shared:
    """The cheapest exchange, again and again, while one costs less."""
    value = cost(bundle, fit)
    improved = True
    while improved:
        improved = False
        for gone, new in _exchanges(fit):
            members = frozenset().union(*(fit.members[k] for k in gone))
            rest = kept(fit, [k for k in range(len(fit.components)) if k not in gone])
            trial = refined(bundle, solved(bundle, joined(rest, new, members), members), 2)
            if cost(bundle, trial) > value + 10 * HOPEFUL:
                continue
            trial = refined(bundle, trial, 2)
            if cost(bundle, trial) > value + HOPEFUL:
                continue
            trial = refined(bundle, settled(bundle, trial, sorted(members)), 8)
            trial = regrouped(bundle, trial)
            now = cost(bundle, trial)
            kinks = sum(one.shape == "kink" for one in new) - sum(fit.components[k].shape == "kink" for k in gone)
            asked = RARER * kinks if kinks > 0 else GAIN if kinks > -2 else GAIN - 2 * RARER
            if now < value - asked:
                fit, value, improved = trial, now, True
                break
    return _parted(bundle, fit)


def _exchanges(fit: Shared) -> Iterator[tuple[list[int], list[Component]]]:
    """(components that go, components that come): sigmoids and ramps, kinks at the corners of ramps, and back."""
    parts = fit.components
    order = sorted((k for k, one in enumerate(parts) if one.shape != "spike"), key=lambda k: parts[k].centre)
    for i, j in itertools.pairwise(order):
        one, other = parts[i], parts[j]
        apart = other.centre - one.centre
        low, high = one.centre - one.width / 2, other.centre + other.width / 2
        if one.shape == other.shape == "kink" and SHARP < apart < 2 * CORNER * WIDEST:
            yield [i, j], [Component("ramp", (one.centre + other.centre) / 2, apart / (2 * CORNER))]
            yield [i, j], [Component("kink", (one.centre + other.centre) / 2, SHARP)]
            continue
        if {one.shape, other.shape} <= {"sigmoid", "ramp"} and apart < abs(one.width - other.width) / 2:
            yield [i, j], _halves(one if one.width > other.width else other)
        if 0.1 < high - low < WIDEST:
            yield [i, j], [Component("ramp", (low + high) / 2, 0.9 * (high - low))]
    for k in order:
        one = parts[k]
        first, last = one.centre - CORNER * one.width, one.centre + CORNER * one.width
        if one.shape == "kink":
            yield [k], [Component("sigmoid", one.centre, 0.3)]
            if one.width < SLOW:
                yield [k], [one._replace(width=SLOW)]
        elif one.width > 0.06:
            if one.shape == "sigmoid":
                yield [k], [one._replace(shape="ramp")]
            if one.width > WIDE:
                yield [k], _halves(one)
            yield [k], [Component("kink", first, SHARP), Component("kink", last, SHARP)]
            yield [k], [Component("kink", first, SHARP)]
            yield [k], [Component("kink", last, SHARP)]


def _halves(one: Component) -> list[Component]:
    """Two steps where a wide one begins and ends: a wide one less a narrow one in it draws the same, and hides them."""
    return [Component("sigmoid", one.centre + side * APART * one.width, HALF * one.width) for side in (-1, 1)]


def _parted(bundle: Bundle, fit: Shared) -> Shared:
    """A curve whose own date lies so far from the shared one that it pays for it gets its own component."""
    for k in range(len(fit.components)):
        one = fit.components[k]
        if one.shape == "spike" or len(fit.members[k]) < 2:
            continue
        for m in sorted(fit.members[k]):
            if len(fit.members[k]) < 2:
                break
            price = dates(one) * bundle.shared_price + GAIN
            normal, gradient = normal_of(bundle, fit, [m])
            own = slice(2 * k, 2 * k + 2)
            promised = float(gradient[own] @ np.linalg.pinv(normal[own, own], rcond=1e-8) @ gradient[own])
            if promised < price:  # the Gauss-Newton step would not save as much
                continue
            members = (*fit.members[:k], fit.members[k] - {m}, *fit.members[k + 1 :], frozenset({m}))
            trial = solved(bundle, fit._replace(components=(*fit.components, one), members=members), [m])
            trial = refined(bundle, trial, 8)
            if cost(bundle, trial) < cost(bundle, fit) - GAIN:
                fit = trial
    return fit
