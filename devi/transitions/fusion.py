"""Transitions of a run: changes of single curves, merged across metrics into events, weighed, named and dated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import xarray as xr

from devi.errors import unknown_name
from devi.transitions.confidence import confidence_of
from devi.transitions.curves import curves_of
from devi.transitions.descriptions import described
from devi.transitions.detector import FEWEST_BESIDE, Change, changes_of
from devi.transitions.events import Event, events_of
from devi.transitions.labels import kind_of, named, spikes_within
from devi.transitions.stages import stages_of
from devi.transitions.transition import Detection, Support, Transition
from devi.transitions.words import column_of

# Least confidence of a reported transition; measured recall and false alarms: benchmarks/transitions.py.
OPERATING_POINTS: Mapping[str, float] = {"strict": 0.7, "exploratory": 0.4}
LEAST_EVIDENCE = 3.0  # log Bayes factor ("strong", Kass & Raftery 1995) of a change worth weighing


def find_transitions(
    trajectories: xr.Dataset,
    *,
    operating_point: str = "strict",
    exogenous: Mapping[int, str] | None = None,
    seed: int = 0,
) -> list[Transition]:
    """The phase transitions in the curves of a run, by midpoint.

    trajectories     variables (step,) or (step, column) along increasing optimizer steps; `NAME_se` is the standard
                     error of NAME; attributes read: units, detect (False: not searched)
    operating_point  "strict" (few false alarms) or "exploratory" (more finds)
    exogenous        step -> label of what was done to the run from outside, such as a drop of the learning rate
    Raises DeviError for steps that do not increase. `detect` says also what was skipped, and names the stages.
    """
    return detect(trajectories, operating_point=operating_point, exogenous=exogenous, seed=seed).transitions


def detect(
    trajectories: xr.Dataset,
    *,
    operating_point: str = "strict",
    exogenous: Mapping[int, str] | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Detection:
    """`find_transitions` with the stages between them, the variables that were skipped, and the settings.

    progress  called with the share of curves done, 0 to 1
    """
    if operating_point not in OPERATING_POINTS:
        raise unknown_name("operating point", operating_point, OPERATING_POINTS)
    settings = {
        "operating_point": operating_point,
        "least_confidence": OPERATING_POINTS[operating_point],
        "exogenous": {str(step): label for step, label in (exogenous or {}).items()},
        "seed": seed,
    }
    curves, skipped = curves_of(trajectories)
    changes: list[Change] = []
    for done, curve in enumerate(curves):
        changes += changes_of(curve, least_evidence=LEAST_EVIDENCE)
        if progress is not None:
            progress((done + 1) / len(curves))
    searched = tuple(dict.fromkeys(curve.metric for curve in curves))
    found = []
    for event in events_of(changes):
        if event.is_context and operating_point == "strict":  # the function stayed as it was
            continue
        transition = _transition(event, searched, trajectories, exogenous or {})
        if transition.confidence >= OPERATING_POINTS[operating_point]:
            found.append(transition)
    found = [replace(one, id=f"t{i + 1}") for i, one in enumerate(sorted(found, key=lambda one: one.midpoint))]
    return Detection(found, stages_of(trajectories, found, searched), skipped, settings)


def _transition(
    event: Event, searched: tuple[str, ...], trajectories: xr.Dataset, exogenous: Mapping[int, str]
) -> Transition:
    lead = event.lead
    dates = {"onset": event.onset, "midpoint": event.centre, "end": event.end}
    first, last = lead.curve.x[[0, -1]]
    intervals = {
        name: (float(10 ** max(date - 1.96 * error, first)), float(10 ** min(date + 1.96 * error, last)))
        for (name, date), error in zip(dates.items(), lead.errors, strict=True)
    }
    support = tuple(
        Support(
            change.curve.metric,
            None if (at := change.curve.index) is None else column_of(trajectories[change.curve.metric], at).number,
            "up" if change.amplitude > 0 else "down",
            change.amplitude,
            change.log_bayes_factor,
        )
        for change in event.changes
    )
    kind = kind_of(event, spiked=spikes_within(event, trajectories))
    label = named(event, kind, trajectories)
    moved = {one.metric for one in support}
    return Transition(
        id="",
        onset=float(10**event.onset),
        midpoint=float(10**event.centre),
        end=float(10**event.end),
        type=kind,
        confidence=confidence_of(event),
        resolvable=lead.beside >= FEWEST_BESIDE,
        intervals=intervals,
        support=support,
        against=tuple(name for name in searched if name not in moved),
        label=label,
        description=described(event, label, trajectories),
        exogenous=_cause(event, exogenous),
    )


def _cause(event: Event, exogenous: Mapping[int, str]) -> str | None:
    """Label of the declared step inside the event, or within two checkpoints before its onset; the nearest one."""
    reach = 2 * event.lead.gap
    near = {
        abs(np.log10(step) - event.onset): label
        for step, label in exogenous.items()
        if step > 0 and event.onset - reach <= np.log10(step) <= event.end
    }
    return near[min(near)] if near else None
