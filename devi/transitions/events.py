"""Event: changes of several curves that happen together.

The clearest change starts an event; others join the nearest event whose 10-90% span holds their midpoint, or whose
midpoint lies in theirs. Two columns of one metric (two features) share an event only if their midpoints fall between
the same checkpoints, or nearer together than AT_ONCE of the shorter of their spans: else they stay two transitions. A
bend of a column makes no event, nor does one where a bounded metric arrives at its bound, nor a change without evidence
of its own, which a fit gave to a curve because others have it. Context (ranks.py) comes last and joins what overlaps
it, so that one change is not reported twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from devi.transitions.curves import Curve
from devi.transitions.detector import FEWEST_BESIDE, Change
from devi.transitions.fit import WIDEST

FOLLOWS_WITHIN = 0.1  # decades: what only follows an event may lag it by so much
FAINT = 0.2  # of what its changes are measured against: a column that changes by less joins an event and makes none
AT_ONCE = 0.25  # of the narrower one's width: two columns whose midpoints are nearer move together
ARRIVED = 0.05  # of the distance between its bounds: where a metric has reached one
OBVIOUS = 0.3  # of what its changes are measured against: a change that nobody would overlook
SIGNAL = 2.5  # times the noise
READJUSTMENT = 0.6  # of a column's largest change: smaller ones of the same column join an event or are dropped


@dataclass
class Event:
    """changes[0] is the lead, whose dates are the event's (log10 step); spikes are nuisances seen at the same time."""

    changes: list[Change]
    spikes: list[Change] = field(default_factory=list)
    fall: Change | None = None  # of a transient, whose rise is the lead

    @property
    def lead(self) -> Change:
        return self.changes[0]

    @property
    def is_context(self) -> bool:
        """Whether nothing moved that may make an event by itself."""
        return all(change.curve.context for change in self.changes)

    @property
    def onset(self) -> float:
        return self.lead.onset if self.fall is None else min(self.lead.onset, self.fall.onset)

    @property
    def end(self) -> float:
        return self.lead.end if self.fall is None else max(self.lead.end, self.fall.end)

    @property
    def centre(self) -> float:
        return self.lead.centre if self.fall is None else (self.lead.centre + self.fall.centre) / 2


def events_of(changes: Sequence[Change]) -> list[Event]:
    """Changes of all curves, merged; by midpoint. The order of `changes` does not matter."""
    spikes = [change for change in changes if change.shape == "spike"]
    moves = sorted((change for change in changes if _can_be(change)), key=_clarity, reverse=True)
    largest: dict[tuple[str, int | None], float] = {}
    for change in moves:
        key = (change.curve.metric, change.curve.index)
        largest[key] = max(largest.get(key, 0.0), change.share)
    events: list[Event] = []
    for change in moves:
        key = (change.curve.metric, change.curve.index)
        curve = change.curve
        is_seen = change.log_bayes_factor > 0
        small = curve.index is not None and change.share < max(READJUSTMENT * largest[key], FAINT)
        small |= _saturates(change)
        follows = curve.gated or curve.context or small
        # What only follows looks a little further for its event; a kink there is where the event begins or ends.
        slack = FOLLOWS_WITHIN if follows or change.shape == "kink" else min(change.gap, FOLLOWS_WITHIN)
        near = [event for event in events if _together(event, change, slack=slack)]
        if not follows:
            near = [event for event in near if not _apart(event, change)]
        if near:
            event = min(near, key=lambda event: abs(event.centre - change.centre))
            if all((one.curve.metric, one.curve.index) != key for one in event.changes):
                event.changes.append(change)
            elif is_seen and not follows and curve.index is None and not _overlap(event, change):
                events.append(Event([change]))
        elif is_seen and (curve.gated or not (small or (change.shape == "kink" and curve.index is not None))):
            events.append(Event([change]))
    events = _transients(sorted(events, key=lambda event: event.centre))
    for event in events:
        event.spikes = [one for one in spikes if event.onset - 0.05 <= one.centre <= event.end + 0.05]
    return events


def _can_be(change: Change) -> bool:
    """Whether it is a change, of a metric that may change in this direction: one that only rises does not fall."""
    against = change.shape != "kink" and change.amplitude * change.curve.monotone < 0
    return change.shape != "spike" and not against


def _saturates(change: Change) -> bool:
    """Whether a bend is only where a bounded metric arrives at its bound: an accuracy of 1 stays there."""
    low, high = change.curve.bounds
    if change.shape != "kink" or not np.isfinite(high - low):
        return False
    after = change.fitted[change.curve.x >= change.end]
    room = ARRIVED * (high - low)
    return bool(len(after) and (np.all(after > high - room) or np.all(after < low + room)))


def _clarity(change: Change) -> tuple[float, ...]:
    """Order in which changes may lead: accuracy before columns before scalars, then gated columns, context last.

    Those without evidence of their own come after those with.
    """
    curve = change.curve
    rank = 0.0 if curve.gated else 3.0 if curve.metric.endswith("accuracy") else 2.0 if curve.index is not None else 1.0
    weight = min(change.share, 1.0) * change.log_bayes_factor / (change.log_bayes_factor + 10.0)
    seen = float(change.log_bayes_factor > 0)
    return float(not curve.context), seen, rank * (change.share > 0.3), weight, change.centre, change.width


def _together(event: Event, change: Change, *, slack: float) -> bool:
    return (
        event.onset - slack <= change.centre <= event.end + slack
        or change.onset - slack <= event.centre <= change.end + slack
    )


def _apart(event: Event, change: Change) -> bool:
    """Whether another column of the same metric already moves here, at a date that can be told apart from this one."""
    others = (one for one in event.changes if one.curve.metric == change.curve.metric)
    first = next((one for one in others if one.curve.index != change.curve.index), None)  # the clearest of them
    if first is None:
        return False
    at_once = max(min(first.gap, change.gap), AT_ONCE * min(first.width, change.width))
    return abs(first.centre - change.centre) > at_once


def _overlap(event: Event, change: Change) -> bool:
    return change.onset < event.end and event.onset < change.end


def _transients(events: list[Event]) -> list[Event]:
    """A rise and a fall of the same curves, in each alike in size, within a decade are one transient."""
    merged: list[Event] = []
    for event in events:
        last = merged[-1] if merged else None
        if last is not None and last.fall is None and _undoes(last, event):
            last.fall = event.lead
            continue
        merged.append(event)
    return merged


def _undoes(first: Event, second: Event) -> bool:
    a, b = first.lead, second.lead
    sizes = [{(one.curve.metric, one.curve.index): one.amplitude for one in event.changes} for event in (first, second)]
    return (
        sizes[0].keys() == sizes[1].keys()
        and {a.shape, b.shape} <= {"sigmoid", "ramp"}
        and all(-2.0 < sizes[1][curve] / size < -0.5 for curve, size in sizes[0].items())
        and second.end - first.onset <= WIDEST
    )


def against(event: Event, curves: Sequence[Curve]) -> tuple[str, ...]:
    """Metrics without a change in this event though one would have shown in at least one of their curves.

    It would have if OBVIOUS of the metric's range stands SIGNAL out of the noise and checkpoints lie on both sides.
    """
    involved = {change.curve.metric for change in event.changes}
    able = (curve.metric for curve in curves if curve.metric not in involved and _would_show(curve, event))
    return tuple(dict.fromkeys(able))


def _would_show(curve: Curve, event: Event) -> bool:
    noise = float(np.interp(event.centre, curve.x, curve.sigma)) * np.sqrt(curve.inflation)
    beside = min(np.sum(curve.x <= event.onset + 1e-9), np.sum(curve.x >= event.end - 1e-9))
    return bool(beside >= FEWEST_BESIDE and OBVIOUS * curve.spread > SIGNAL * noise)
