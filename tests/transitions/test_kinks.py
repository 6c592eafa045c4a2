"""Two kinks at a time: what they save is the least squares of all pairs, and both are found where greed takes one."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from devi.transitions.bundle import Bundle
from devi.transitions.curves import curves_of
from devi.transitions.fusion import find_transitions
from devi.transitions.grid import grid_of
from devi.transitions.kinks import BOTH, FIRST, LIKELY, NEITHER, SECOND, _costs, best_pair
from devi.transitions.nulls import null_price
from tests.transitions.planted import STEPS, X, run


def bent(x, *corners):
    """A curve whose slope changes at each (corner, change of slope), decades."""
    return sum(slope * np.maximum(x - corner, 0) for corner, slope in corners)


def bundle_of(**curves):
    found, _ = curves_of(run(**curves))
    raw = np.ascontiguousarray(X).tobytes()
    wider = tuple(replace(one, sigma=one.sigma * np.sqrt(one.inflation)) for one in found)
    return Bundle(wider, (grid_of(raw, raw),) * len(wider))


def test_what_a_pair_saves_is_what_least_squares_find(monkeypatch):
    random = np.random.default_rng(0)
    bundle = bundle_of(a=bent(X, (1.0, 1.0), (2.5, -1.5)) + 0.05 * random.normal(size=len(X)))
    curve, grid, price = bundle.curves[0], bundle.grids[0], bundle.price(0)
    places = np.flatnonzero(grid.shapes == "kink")[::9]
    monkeypatch.setattr("devi.transitions.kinks.LIKELY", 1000)
    costs = _costs(bundle, 0, places)

    def least(*kinks):
        """Over all nulls of one term or none, by numpy's least squares, what a kink adds costing its square."""
        found = []
        for null in (None, *range(grid.library.shapes.shape[1])):
            terms = [np.ones(len(X)), *([] if null is None else [grid.library.shapes[:, null]])]
            columns = np.stack([*terms, *(grid.atoms[k] for k in kinks)], axis=1) / curve.sigma[:, None]
            prior = np.zeros((len(kinks), columns.shape[1]))
            for row, k in enumerate(kinks):
                prior[row, len(terms) + row] = np.ptp(grid.atoms[k]) / curve.reach
            all_rows = np.concatenate([columns, prior])
            target = np.concatenate([curve.y / curve.sigma, np.zeros(len(kinks))])
            residual = target - all_rows @ np.linalg.lstsq(all_rows, target, rcond=None)[0]
            paid = 0 if null is None else null_price((null,))
            found.append(float(residual @ residual) + price * (paid + len(kinks)))
        return min(found)

    for i, j in itertools.combinations(range(len(places)), 2):
        one, other = int(places[i]), int(places[j])
        for which, kinks in ((NEITHER, ()), (FIRST, (one,)), (SECOND, (other,)), (BOTH, (one, other))):
            assert costs[which, i, j] == pytest.approx(least(*kinks), rel=1e-6)
    assert grid.library.shapes.shape[1] > LIKELY  # as it runs, few of the nulls are tried beside two


def test_the_best_two_are_where_two_were_planted_in_the_curves_that_bend():
    random = np.random.default_rng(1)
    noise = 0.02 * random.normal(size=(3, len(X)))
    both = bent(X, (1.2, 1.0), (2.6, -1.5))
    bundle = bundle_of(a=both + noise[0], b=bent(X, (2.6, 1.0)) + noise[1], c=noise[2])
    kinks, members = best_pair(bundle)
    assert [one.centre for one in kinks] == pytest.approx([1.2, 2.6], abs=0.06)
    assert members == [frozenset({0}), frozenset({0, 1})]


def test_a_straight_curve_has_no_two_kinks():
    random = np.random.default_rng(2)
    assert best_pair(bundle_of(a=X + 0.05 * random.normal(size=len(X)))) == ([], [])


@pytest.mark.parametrize("seed", [2, 5])
def test_two_kinks_are_found_where_none_alone_is_worth_its_price(seed):
    """Five curves that rise and turn, most of them slow besides: 1 of 10 seeds before pairs were sought, 4 since."""
    random = np.random.default_rng(seed)
    slow = (1 + STEPS / 20) ** -0.5
    curves = {
        name: size * bent(X, (1.2, 0.6), (2.6, -0.9)) + 0.07 * random.normal(size=len(X)) + trend * slow
        for name, size, trend in (("a", 1, 0), ("b", -1, 1), ("c", 0.7, -1), ("d", -0.8, -0.5), ("e", 1.2, 1))
    }
    found = find_transitions(run(**curves), operating_point="exploratory")
    assert [one.type for one in found] == ["kink", "kink"]
    assert np.log10([one.midpoint for one in found]) == pytest.approx([1.2, 2.6], abs=0.1)
