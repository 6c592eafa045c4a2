"""Oscillations: told from changes by what each costs, for one curve or for all with one frequency."""

from __future__ import annotations

import numpy as np
import pytest

from devi.transitions.bundle import empty
from devi.transitions.fit import Component
from devi.transitions.fusion import find_transitions
from devi.transitions.oscillation import Waves
from devi.transitions.refinement import with_components
from tests.transitions.planted import X, jump, run, sigmoid
from tests.transitions.test_bundle import bundle_of

WAVE = np.cos(2 * np.pi * X / 0.8)


def explained(*components, **curves):
    """Which curves an oscillation explains, of those that move with these components."""
    bundle = bundle_of(**curves)
    fit = empty(bundle)
    for one in components:
        fit = with_components(bundle, fit, [one], frozenset(range(len(curves))))
    return Waves(bundle).explaining(fit)


def test_curves_that_do_not_move_are_not_asked():
    assert explained(a=WAVE) == set()


def test_a_wave_of_five_periods_explains_what_two_steps_do_not():
    steps = Component("sigmoid", 1.0, 0.3), Component("sigmoid", 1.4, 0.3)
    assert explained(*steps, a=WAVE, b=0.5 * WAVE + 0.3 * X) == {0, 1}


def test_a_step_is_no_wave():
    assert explained(Component("sigmoid", 2.6, 0.3), a=sigmoid(400, 0.3)) == set()


def test_a_column_known_too_late_for_a_wave_to_repeat_is_searched_all_the_same():
    late = np.where(X > 3.75, jump(8000), np.nan)
    found = find_transitions(run(feature_norm=np.stack([late, sigmoid(400, 0.3)], axis=1)))
    assert [(one.label, one.midpoint) for one in found] == [
        ("feature 1 enters", pytest.approx(400, rel=0.01)), ("feature 0 enters", pytest.approx(8000, rel=0.05))
    ]  # fmt: skip
