"""Curves that share their changes: exact derivatives, what only several curves show, and what order cannot matter."""

from __future__ import annotations

import numpy as np
import pytest

from devi.transitions.bundle import Bundle, cost, curve_cost, empty, observed, settled, solved
from devi.transitions.curves import curves_of
from devi.transitions.fit import Component
from devi.transitions.fusion import find_transitions
from devi.transitions.grid import grid_of
from devi.transitions.refinement import jacobian_of, refined, with_components
from tests.transitions.planted import BACKGROUNDS, X, kink, ramp, run, sigmoid


def bundle_of(**curves):
    found = curves_of(run(**curves))[0]
    raw = np.ascontiguousarray(X).tobytes()
    return Bundle(tuple(found), tuple(grid_of(raw, raw) for _ in found))


def with_change(bundle, one):
    every = frozenset(range(len(bundle.curves)))
    return with_components(bundle, empty(bundle), [one], every)


# Exact limits


def test_amplitudes_dates_and_widths_of_noise_free_curves_are_exact():
    bundle = bundle_of(a=2 * sigmoid(400, 0.4), b=1 - 3 * sigmoid(400, 0.4))
    fit = refined(bundle, with_change(bundle, Component("sigmoid", 2.5, 0.3)), 40)
    (one,) = fit.components
    assert one.centre == pytest.approx(np.log10(400), abs=1e-5)
    assert one.width == pytest.approx(0.4, abs=1e-4)
    assert [fit.amplitude(m, 0) for m in (0, 1)] == pytest.approx([2, -3], abs=1e-3)


@pytest.mark.parametrize("shape", ["sigmoid", "ramp", "kink"])
def test_derivatives_by_centre_and_log_width_are_those_of_the_fitted_curve(shape):
    """With the amplitudes fitted anew each time; the part that they take up is projected out (Kaufman)."""
    bundle = bundle_of(a=BACKGROUNDS["power"] - sigmoid(400, 0.4))
    one = Component(shape, 2.61, 0.43)
    fit = solved(bundle, empty(bundle)._replace(components=(one,), members=(frozenset({0}),)), [0])
    fit = settled(bundle, fit, [0])
    slopes = jacobian_of(bundle, fit, 0).T
    design = fit.states[0].rows.T
    amplitude, sigma = fit.amplitude(0, 0), bundle.curves[0].sigma
    for column, (more, less) in enumerate(
        [
            (one._replace(centre=2.6101), one._replace(centre=2.6099)),
            (one._replace(width=0.43 * np.exp(1e-4)), one._replace(width=0.43 * np.exp(-1e-4))),
        ]
    ):
        change = amplitude * (more.column(X) - less.column(X)) / 2e-4 / sigma
        wanted = change - design @ np.linalg.lstsq(design, change, rcond=None)[0]
        # A ramp has corners: at the checkpoints beside them a difference is no derivative.
        assert np.median(np.abs(slopes[:, column] - wanted)) < 1e-3 * np.max(np.abs(wanted))


def test_a_kink_costs_the_square_of_what_it_adds_in_ranges_of_the_curve():
    bundle = bundle_of(a=3 * kink(400))
    two = Component("kink", np.log10(400), 0.05), Component("kink", np.log10(4000), 0.05)
    fit = solved(bundle, empty(bundle, terms=0)._replace(components=two, members=(frozenset({0}),) * 2), [0])
    added = sum((observed(bundle, two[k], fit.amplitude(0, k), 0) / bundle.curves[0].reach) ** 2 for k in (0, 1))
    assert added == pytest.approx(1, abs=0.01)  # the first one draws the whole curve
    assert curve_cost(bundle, fit, 0) == pytest.approx(fit.states[0].rss + 2 * bundle.price(0) + added)


# Known answers


@pytest.mark.parametrize("count", [1, 5])
def test_a_change_too_faint_for_one_curve_is_found_in_five(count):
    """Amplitude as large as the noise; the five are told apart from one in both of two seeds."""
    for seed in (0, 1):
        random = np.random.default_rng(seed)
        curves = {f"m{i}": 0.25 * sigmoid(400, 0.3) + 0.25 * random.normal(size=len(X)) for i in range(count)}
        found = find_transitions(run(**curves))
        assert len(found) == (count == 5)
        if found:
            assert abs(np.log10(found[0].midpoint / 400)) < 0.1


def test_two_kinks_at_one_date_each_are_kinks_if_curves_disagree_and_a_ramp_if_one_curve_goes_flat_again():
    random = np.random.default_rng(0)
    first, second = kink(200), kink(900)
    curves = {"a": first - 2 * second, "b": 2 * first + second, "c": -first}
    noisy = {name: y + 0.02 * random.normal(size=len(X)) for name, y in curves.items()}
    found = find_transitions(run(**noisy))
    assert [one.type for one in found] == ["kink", "kink"]
    assert [one.midpoint for one in found] == pytest.approx([200, 900], rel=0.05)
    (alone,) = find_transitions(run(a=2 * ramp(400, 0.5) + 0.02 * random.normal(size=len(X))))
    assert alone.type in ("ramp", "step")


def test_curves_that_move_a_little_apart_keep_dates_of_their_own():
    found = find_transitions(run(test_accuracy=sigmoid(400, 0.2), test_loss=4 - 4 * sigmoid(520, 0.2)))
    assert len(found) == 1
    assert found[0].midpoint == pytest.approx(400, rel=0.02)  # accuracy leads


# Invariance


def test_the_cost_does_not_depend_on_the_order_of_curves():
    a, b = BACKGROUNDS["power"] - sigmoid(400, 0.4), BACKGROUNDS["stretched"] + sigmoid(400, 0.4)
    values = []
    for curves in ({"a": a, "b": b}, {"b": b, "a": a}):
        bundle = bundle_of(**curves)
        values.append(cost(bundle, with_change(bundle, Component("sigmoid", 2.6, 0.3))))
    assert values[0] == pytest.approx(values[1], rel=1e-6)
