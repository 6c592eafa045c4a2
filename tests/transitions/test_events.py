"""Which changes make an event, and which only join one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from devi.transitions.curves import curves_of
from devi.transitions.detector import changes_of
from devi.transitions.events import events_of
from tests.transitions.planted import run, sigmoid


def changes(**curves: float):
    """A sigmoid at step 400 in each metric, with the log Bayes factor that is given for it."""
    found = []
    for curve in curves_of(run(**{name: sigmoid(400, 0.4) for name in curves}))[0]:
        (one,) = changes_of([curve], least_evidence=1.0)
        found.append(replace(one, log_bayes_factor=curves[curve.metric]))
    return found


def test_a_change_without_evidence_of_its_own_joins_an_event_and_makes_none():
    assert events_of(changes(loss=-2.0)) == []
    (event,) = events_of(changes(loss=-2.0, accuracy=30.0))
    assert [one.curve.metric for one in event.changes] == ["accuracy", "loss"]


def test_a_change_without_evidence_does_not_take_context_that_has_it_down_with_it():
    loss, norm = changes(loss=-2.0, other=30.0)
    norm = replace(norm, curve=replace(norm.curve, metric="weight_norm", context=True))
    (event,) = events_of([loss, norm])
    assert event.is_context
    assert event.lead is norm


def test_the_order_of_changes_does_not_matter():
    some = changes(a=5.0, b=20.0, c=-1.0)
    dates = {tuple(one.curve.metric for one in events_of(order)[0].changes) for order in (some, some[::-1])}
    assert dates == {("b", "a", "c")}
    assert np.isclose(events_of(some)[0].centre, np.log10(400), atol=0.01)
