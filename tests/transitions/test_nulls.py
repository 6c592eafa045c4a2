"""The search for the best null: exactly what trying every pair by least squares finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from devi.transitions.nulls import NullSearch, null_price, relaxations
from tests.transitions.planted import BACKGROUNDS, X

SIGMA = np.full(len(X), 0.05)


def search(y):
    return NullSearch(relaxations(X), SIGMA, y / SIGMA)


def rss(found: NullSearch, fixed: np.ndarray, columns: tuple[int, ...]) -> float:
    design = np.column_stack([fixed, found.rows[list(columns)].T])
    return float(np.sum((found.y - design @ np.linalg.lstsq(design, found.y, rcond=None)[0]) ** 2))


def test_a_flat_curve_needs_no_null():
    found = search(np.random.default_rng(0).normal(size=len(X)) * SIGMA)
    assert found.best(1 / SIGMA[:, None], keep=1)[0].columns == ()


@pytest.mark.parametrize("background", ["power", "stretched"])
def test_the_best_pair_is_the_one_that_least_squares_over_all_pairs_finds(background):
    y = BACKGROUNDS[background] - 0.5 * np.exp(-(10**X) / 2000) + np.random.default_rng(1).normal(size=len(X)) * SIGMA
    found, fixed = search(y), 1 / SIGMA[:, None]
    best = found.best(fixed, keep=1)[0]
    assert best.rss == pytest.approx(rss(found, fixed, best.columns), rel=1e-6)
    cost = best.rss + null_price(best.columns) * found.price
    random = np.random.default_rng(2)
    pairs = list(itertools.combinations(range(int(found.first)), 2))
    for i in random.choice(len(pairs), size=300, replace=False):
        assert rss(found, fixed, pairs[i]) + null_price(pairs[i]) * found.price >= cost - 1e-6


def test_what_is_asked_for_comes_cheapest_first_with_the_plainer_nulls_last():
    y = BACKGROUNDS["power"] + np.random.default_rng(3).normal(size=len(X)) * SIGMA
    found = search(y)
    chosen = found.best(1 / SIGMA[:, None], keep=3)
    costs = [one.rss + null_price(one.columns) * found.price for one in chosen[:3]]
    assert costs == sorted(costs)
    assert {len(one.columns) for one in chosen} >= {0, 1}


def test_at_most_so_many_terms_as_asked():
    found = search(BACKGROUNDS["stretched"])
    for terms in (1, 2):
        assert len(found.best(1 / SIGMA[:, None], keep=1, terms=terms)[0].columns) <= terms
