"""One sentence for an event: when, what, and from where to where for the metrics that move, the first rank first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from devi.transitions.curves import Curve
from devi.transitions.detector import Change
from devi.transitions.events import Event
from devi.transitions.flags import caveat
from devi.transitions.levels import around, moved, slopes
from devi.transitions.ranks import told
from devi.transitions.telling import FEATURES
from devi.transitions.words import LARGE, from_to, name_of, step_text, told_apart, with_error, with_minus

OWN_EVIDENCE = 1.0  # nats of log Bayes factor that a metric's own change has, to be told
HAPPENED = {
    "generalization": "the network generalized",
    "memorization": "the network memorized its training data",
    "circuit formation": "a circuit formed that test accuracy does not show yet",
    "instability": "training became unstable and nothing was learned",
    "overfitting": "the network overfitted",
}


def described(event: Event, order: Sequence[Change], label: str, trajectories: xr.Dataset) -> str:
    """between steps 1,090 and 2,726 the network generalized: test accuracy 0.02 → 1.00, LLC 249 ± 1 → 138 ± 4, …

    order  the event's changes in the order in which they are told (telling.py)
    """
    # What is there only because others have it is counted, not told: its own numbers say little.
    clear = [change for change in order if change.log_bayes_factor >= OWN_EVIDENCE or change is event.lead]
    places = told([change.curve.metric for change in clear], [change.curve.context for change in clear])
    texts = [_from_to(event, clear[place], label, trajectories) for place in places]
    moves = [text for text in texts if text is not None]
    more = len(order) - len(moves)
    onset, end = (step_text(10**date, trajectories["step"].values) for date in (event.onset, event.end))
    between = f"between steps {onset} and {end}"
    what = f"{between} {_happened(label)}"
    return f"{what}: {', '.join(moves)}{f', and {more} more' if more else ''}" if moves else what


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
    beside = around(steps, 10**event.onset, 10**event.end)
    if beside is None:
        return None
    first, last = beside
    size = moved(event, change)
    places = [first, last]
    if event.fall is not None:  # there and back
        places.insert(1, first + int(np.argmax(np.sign(size) * values[first : last + 1])))
    if np.sign(values[places[1]] - values[first]) != np.sign(size):
        return None
    is_measure = change.curve.metric.endswith(("loss", "accuracy"))
    counts = not is_measure and not any(values % 1) and not any(np.isfinite(errors))
    decimal = change.curve.metric.endswith("accuracy") and max(abs(values[places])) <= 1

    def text(value: float, error: float, more: int) -> str:
        if decimal:
            return f"{value:.{2 + more}f}"
        is_count = counts and abs(value) < LARGE
        return with_minus(f"{value:,.0f}") if is_count else with_error(value, error, more)

    texts = told_apart(lambda more: [text(values[i], errors[i], more) for i in places])
    return f"{name} {' → '.join(texts)}{caveat(change.curve.metric, steps[places].tolist(), trajectories)}"


def measured(curve: Curve, trajectories: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finite values after step 0, their standard errors (NaN where there is none) and their steps, (n,) each."""
    steps = trajectories["step"].values.astype(float)
    variable = trajectories[curve.metric].transpose("step", ...)
    values = (variable if curve.index is None else variable[:, curve.index]).values.astype(float)
    error = trajectories.get(f"{curve.metric}_se")
    errors = np.full(len(steps), np.nan) if error is None or curve.index is not None else error.values.astype(float)
    keep = np.isfinite(values) & (steps > 0)
    return values[keep], errors[keep], steps[keep]
