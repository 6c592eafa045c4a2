"""Exchanges: what explains the same for less takes the place of what was found first."""

from __future__ import annotations

import numpy as np
import pytest

from devi.transitions.bundle import cost, empty
from devi.transitions.exchange import exchanged
from devi.transitions.fit import Component
from devi.transitions.refinement import with_components
from tests.transitions.planted import X, kink, ramp, sigmoid
from tests.transitions.test_bundle import bundle_of

NOISE = 0.03 * np.random.default_rng(0).normal(size=(3, len(X)))


def after(start, **curves):
    """Shapes by date after the exchange of a fit that begins with these components in every curve."""
    bundle = bundle_of(**curves)
    fit = with_components(bundle, empty(bundle), start, frozenset(range(len(curves))))
    better = exchanged(bundle, fit)
    assert cost(bundle, better) <= cost(bundle, fit) + 12  # kinks may give way to a ramp that costs a little more
    return [one.shape for one in sorted(better.components, key=lambda one: one.centre)]


def test_two_kinks_that_draw_a_ramp_become_the_ramp():
    low, high = 2.6 - 0.625 * 0.5, 2.6 + 0.625 * 0.5
    start = [Component("kink", low, 0.05), Component("kink", high, 0.05)]
    assert after(start, a=ramp(400, 0.5) + NOISE[0]) == ["ramp"]


def test_a_sigmoid_that_was_put_on_a_ramp_becomes_the_ramp():
    assert after([Component("sigmoid", 2.6, 0.5)], a=ramp(400, 0.6) + NOISE[0] / 3) == ["ramp"]


@pytest.mark.parametrize("width", [0.2, 0.5])
def test_a_sigmoid_stays_one(width):
    assert after([Component("sigmoid", 2.6, width)], a=sigmoid(400, width) + NOISE[0]) == ["sigmoid"]


def test_kinks_of_curves_that_turn_differently_stay_kinks():
    start = [Component("kink", 2.3, 0.05), Component("kink", 2.95, 0.05)]
    a, b = kink(200) - 3 * kink(900), 2 * kink(200) + kink(900)
    assert after(start, a=a + NOISE[0], b=b + NOISE[1]) == ["kink", "kink"]


def test_a_curve_with_a_date_of_its_own_gets_a_component_of_its_own():
    curves = {"a": sigmoid(300, 0.2), "b": sigmoid(300, 0.2), "c": sigmoid(600, 0.2)}
    assert len(after([Component("sigmoid", 2.5, 0.3)], **curves)) == 2
