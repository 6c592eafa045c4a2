"""Levels: where a curve stood before an event and after it, on its fit, so that noise does not speak.

They are read at the last checkpoint before the onset and at the first one after the end.

What moved is the difference of the two levels. In a transient, which comes back, it is how far it goes in between; in
a kink, which has no level of its own, the change of slope per decade.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from devi.transitions.curves import NOISE_FLOOR

if TYPE_CHECKING:  # the report reads `around`, and should not wait for the search to be imported
    from devi.transitions.detector import Change
    from devi.transitions.events import Event

ERRORS = 2.0  # of the difference of two values, within which nothing is said to have moved
STRETCH = 0.3  # decades, over which the slope beside a kink is read


def around(steps: np.ndarray, onset: float, end: float) -> tuple[int, int] | None:
    """Places of the checkpoints before and after a change, in the order of time; None where there is none.

    steps  (n,) positive, those at which the curve has a value; onset, end in optimizer steps
    """
    before, after = sides(steps, onset, end)
    return (int(before[-1]), int(after[0])) if len(before) and len(after) else None


def nearest(steps: np.ndarray, onset: float, end: float) -> tuple[int, int]:
    """As `around`; where the curve begins after the onset or ends before the end, its first or last checkpoint."""
    before, after = sides(steps, onset, end)
    return int(before[-1]) if len(before) else 0, int(after[0]) if len(after) else len(steps) - 1


def sides(steps: np.ndarray, onset: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Places of all checkpoints before a change, and of all after it."""
    tolerance = 1 + 1e-9  # dates went through log10 and back
    return np.flatnonzero(steps <= onset * tolerance), np.flatnonzero(steps * tolerance >= end)


def levels(event: Event, change: Change) -> tuple[float, float, float]:
    """Of a curve's fit: before the event, after it, and in between where it is furthest from before.

    Never beyond what was measured: a fit may overshoot, an accuracy above 1 is none.
    """
    curve = change.curve
    fitted = np.clip(change.fitted, np.min(curve.y), np.max(curve.y))
    first, last = nearest(10**curve.x, 10**event.onset, 10**event.end)
    between = fitted[first : last + 1]
    return float(fitted[first]), float(fitted[last]), float(between[np.argmax(np.abs(between - fitted[first]))])


def slopes(event: Event, change: Change) -> tuple[float, float]:
    """Of a curve's fit: the slope per decade over STRETCH before the onset and after the end."""
    x = change.curve.x
    ends = ((event.onset - STRETCH, event.onset), (event.end, event.end + STRETCH))
    places = [np.clip(pair, x[0], x[-1]) for pair in ends]
    rises = [float(np.diff(np.interp(pair, x, change.fitted))[0]) for pair in places]
    before, after = (rise / max(float(pair[1] - pair[0]), 1e-9) for rise, pair in zip(rises, places, strict=True))
    return before, after


def moved(event: Event, change: Change) -> float:
    """How far the curve moves in this event, signed, in its unit; per decade if the event is a kink."""
    if event.lead.shape == "kink":
        before, after = slopes(event, change)
        return after - before
    before, after, furthest = levels(event, change)
    return (after if event.fall is None else furthest) - before


def supporters(event: Event) -> list[Change]:
    """The lead, and those with evidence of their own whose level moves: joining what others show is no evidence."""
    return [event.lead, *(one for one in event.changes[1:] if one.log_bayes_factor > 0 and _moves(event, one))]


def _moves(event: Event, change: Change) -> bool:
    """Whether the level moves by more than a fit may be off, and by more than the errors of the values themselves.

    A part that the rest takes back moves nothing; and who reads 0.9 ± 0.5 → 1.1 ± 0.5 sees nothing move.
    """
    size, curve = abs(moved(event, change)), change.curve
    if event.lead.shape == "kink":
        return size > 0
    error = 0.0
    if curve.error is not None and event.fall is None:
        error = float(np.hypot(*curve.error[list(nearest(10**curve.x, 10**event.onset, 10**event.end))]))
    return size > max(curve.material, NOISE_FLOOR * curve.spread, ERRORS * error)
