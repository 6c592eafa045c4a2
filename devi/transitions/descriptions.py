"""One sentence for an event: when, what, and from where to where for the metrics that move, the first rank first."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

from devi.transitions.detector import Change
from devi.transitions.events import Event
from devi.transitions.labels import in_telling_order
from devi.transitions.words import name_of, with_error

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
    moves = [_from_to(change, label, trajectories) for change in told]
    more = len(order) - len(told)
    between = f"between steps {10**event.onset:,.0f} and {10**event.end:,.0f}"
    return f"{between} {_happened(label)}: {', '.join(moves)}{f', and {more} more' if more else ''}"


def _happened(label: str) -> str:
    if label in HAPPENED or FEATURES.match(label):
        return HAPPENED.get(label, label)
    shape, _, where = label.partition(" in ")
    return f"there was a {shape} in {where}" if shape in ("kink", "transient") else f"{label} changed"


def _from_to(change: Change, label: str, trajectories: xr.Dataset) -> str:
    curve = change.curve
    steps = trajectories["step"].values.astype(float)
    variable = trajectories[curve.metric].transpose("step", ...)
    values = (variable if curve.index is None else variable[:, curve.index]).values.astype(float)
    error = trajectories.get(f"{curve.metric}_se")
    errors = np.full(len(steps), np.nan) if error is None or curve.index is not None else error.values.astype(float)
    finite = np.flatnonzero(np.isfinite(values) & (steps > 0))
    x = np.log10(steps[finite])
    # Where the change itself has hardly begun and is all but over, a little beyond 10 and 90%.
    reach = 0.25 * change.width
    before = finite[max(int(np.searchsorted(x, change.onset - reach, side="right")) - 1, 0)]
    after = finite[min(int(np.searchsorted(x, change.end + reach)), len(finite) - 1)]
    decimal = curve.metric.endswith("accuracy") and max(abs(values[before]), abs(values[after])) <= 1
    texts = [f"{values[i]:.2f}" if decimal else with_error(values[i], errors[i]) for i in (before, after)]
    name = name_of(curve, trajectories)
    if label == f"{name.removeprefix('norm of ')} enters" or label == f"{name.removeprefix('norm of ')} leaves":
        name = "its norm"
    return f"{name} {texts[0]} → {texts[1]}"
