"""One sentence for an event: when, what, and from where to where for the metrics that move, the first rank first."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

from devi.transitions.curves import Curve
from devi.transitions.detector import Change
from devi.transitions.events import Event
from devi.transitions.labels import in_telling_order
from devi.transitions.levels import around, moved, slopes
from devi.transitions.words import from_to, name_of, step_text, told_apart, with_error

TOLD = 4  # metrics in a sentence; the rest is counted
HAPPENED = {
    "generalization": "the network generalized",
    "memorization": "the network memorized its training data",
    "circuit formation": "a circuit formed that test accuracy does not show yet",
    "instability": "training became unstable and nothing was learned",
    "overfitting": "the network overfitted",
}

FEATURES = re.compile(r"features? \d")  # 'feature 3 enters', 'features 2 and 4 enter'; not 'features represented'


def described(event: Event, label: str, trajectories: xr.Dataset) -> str:
    """between steps 1,090 and 2,726 the network generalized: test accuracy 0.02 → 1.00, LLC 249 ± 1 → 138 ± 4, …"""
    order = in_telling_order(event)
    if FEATURES.match(label):
        largest = max(change.share for change in order if change.curve.metric == "feature_norm")
        order.sort(key=lambda change: change.curve.metric != "feature_norm" or change.share < 0.5 * largest)
    # Context is counted only, unless there is nothing else to tell.
    told = [change for change in order if not change.curve.context][:TOLD] or order[:TOLD]
    left = [change for change in order if change not in told]
    if any(change.curve.metric == "llc" for change in left):
        told[-1] = next(change for change in left if change.curve.metric == "llc")
    moves = [text for change in told if (text := _from_to(event, change, label, trajectories)) is not None]
    more = len(order) - len(moves)
    onset, end = (step_text(10**date, trajectories["step"].values) for date in (event.onset, event.end))
    between = f"between steps {onset} and {end}"
    return f"{between} {_happened(label)}: {', '.join(moves)}{f', and {more} more' if more else ''}"


def _happened(label: str) -> str:
    if label in HAPPENED or FEATURES.match(label):
        return HAPPENED.get(label, label)
    if "→" in label:
        return f"the polygon of the features turned, {label}"
    shape, _, where = label.partition(" in ")
    return f"there was a {shape} in {where}" if shape in ("kink", "transient") else f"{label} changed"


def _from_to(event: Event, change: Change, label: str, trajectories: xr.Dataset) -> str | None:
    """test loss 12.4 → 7.72, as it was measured; None where noise turns round what the fit says."""
    name = name_of(change.curve, trajectories)
    if label.startswith(tuple(f"{name.removeprefix('norm of ')} {word}" for word in ("enters", "leaves"))):
        name = "its norm"
    if event.lead.shape == "kink":
        before, after = slopes(event, change)
        return f"slope of {name} {from_to(before, after)} a decade"
    values, errors, steps = measured(change.curve, trajectories)
    places = around(steps, 10**event.onset, 10**event.end)
    if places is None:
        return None
    first, last = places
    size = moved(event, change)
    told = [first, last]
    if event.fall is not None:  # there and back
        told.insert(1, first + int(np.argmax(np.sign(size) * values[first : last + 1])))
    if change is not event.lead and (values[told[1]] - values[first]) * size <= 0:
        return None
    decimal = change.curve.metric.endswith("accuracy") and max(abs(values[told])) <= 1
    texts = told_apart(
        lambda more: [f"{values[i]:.{2 + more}f}" if decimal else with_error(values[i], errors[i], more) for i in told]
    )
    return f"{name} {' → '.join(texts)}"


def measured(curve: Curve, trajectories: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finite values after step 0, their standard errors (NaN where there is none) and their steps, (n,) each."""
    steps = trajectories["step"].values.astype(float)
    variable = trajectories[curve.metric].transpose("step", ...)
    values = (variable if curve.index is None else variable[:, curve.index]).values.astype(float)
    error = trajectories.get(f"{curve.metric}_se")
    errors = np.full(len(steps), np.nan) if error is None or curve.index is not None else error.values.astype(float)
    keep = np.isfinite(values) & (steps > 0)
    return values[keep], errors[keep], steps[keep]
