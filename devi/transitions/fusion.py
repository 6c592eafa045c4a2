"""Transitions of a run: changes of single curves, merged across metrics into events, weighed, named and dated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from numbers import Real

import numpy as np
import xarray as xr

from devi.errors import DeviError, shown, unknown_name, wrong_kind
from devi.forks import each
from devi.tables.standard_errors import sentences, with_fitting_errors
from devi.transitions.carried import without_carried
from devi.transitions.confidence import confidence_of
from devi.transitions.curves import Curve, checked_steps, curves_of
from devi.transitions.descriptions import described
from devi.transitions.detector import FEWEST_BESIDE, Change, changes_of
from devi.transitions.events import Event, against, events_of
from devi.transitions.labels import in_telling_order, kind_of, named
from devi.transitions.levels import moved
from devi.transitions.means import averaged
from devi.transitions.stages import stages_of
from devi.transitions.telling import told_order
from devi.transitions.transition import Detection, Evidence, Exogenous, Support, Transition
from devi.transitions.words import column_of, name_of

# Least confidence of a reported transition; measured recall and false alarms: benchmarks/transitions.py.
OPERATING_POINTS: Mapping[str, float] = {"strict": 0.6, "exploratory": 0.3}
TOGETHER = 8  # curves
LEAST_EVIDENCE = 1.0  # log Bayes factor of a change worth weighing; what it is worth is for the confidence to say


def find_transitions(
    trajectories: xr.Dataset,
    *,
    operating_point: str = "strict",
    exogenous: Exogenous | None = None,
    seed: int = 0,
) -> list[Transition]:
    """The phase transitions in the curves of a run, by midpoint.

    trajectories     variables (step,) or (step, column) along increasing optimizer steps; `NAME_se` is the standard
                     error of NAME; attributes read: units, detect (False: not searched), material (a smaller change
                     is none, in the metric's unit), bounds (low, high), monotone ("up", "down")
    operating_point  "strict" (few false alarms) or "exploratory" (more finds)
    exogenous        step -> label of what was done to the run from outside, such as a drop of the learning rate
    Raises DeviError for steps that do not increase, and for attributes that say nothing. `detect` says also what was
    skipped, and names the stages.
    """
    return detect(trajectories, operating_point=operating_point, exogenous=exogenous, seed=seed).transitions


def detect(
    trajectories: xr.Dataset,
    *,
    operating_point: str = "strict",
    exogenous: Exogenous | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Detection:
    """`find_transitions` with the stages between them, the variables that were skipped, and the settings.

    progress  called with the share of curves done, 0 to 1
    """
    if operating_point not in OPERATING_POINTS:
        raise unknown_name("operating point", str(operating_point), OPERATING_POINTS)
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise DeviError(f"the seed is {shown(repr(seed))}; expected a whole number of 0 or more: seed=0")
    _check_steps_of(exogenous or {})
    settings = {
        "operating_point": operating_point,
        "least_confidence": OPERATING_POINTS[operating_point],
        "exogenous": {str(step): label for step, label in (exogenous or {}).items()},
        "seed": seed,
    }
    checked_steps(trajectories)
    trajectories, unfit = with_fitting_errors(trajectories)
    trajectories, carried = without_carried(trajectories)
    trajectories, means = averaged(trajectories)
    curves, skipped = curves_of(trajectories)
    bundles = sorted(bundles_of(curves), key=len, reverse=True)  # those that take longest first

    def work(number: int) -> list[Change]:
        return changes_of(bundles[number], least_evidence=LEAST_EVIDENCE, seed=seed)

    changes = [change for found in each(len(bundles), work, progress or (lambda share: None)) for change in found]
    searched = tuple(dict.fromkeys(curve.metric for curve in curves))
    pairs = []
    for event in events_of(changes):
        if event.is_context and operating_point == "strict":  # the function stayed as it was
            continue
        transition = _transition(event, curves, trajectories, exogenous or {})
        if transition.confidence >= OPERATING_POINTS[operating_point]:
            pairs.append((transition, event))
    pairs.sort(key=lambda pair: pair[0].midpoint)
    found = [replace(transition, id=f"t{i + 1}") for i, (transition, _) in enumerate(pairs)]
    evidence = {one.id: _evidence(event, trajectories) for one, (_, event) in zip(found, pairs, strict=True)}
    notices = [*sentences(unfit), *carried, *means]
    return Detection(found, stages_of(trajectories, found, searched), skipped, settings, evidence, notices)


def _check_steps_of(exogenous: Exogenous) -> None:
    if not isinstance(exogenous, Mapping):
        raise wrong_kind("exogenous", exogenous, "a mapping of steps to what was done there, such as {5000: 'lr/10'}.")
    for step in exogenous:
        if not isinstance(step, Real) or not np.isfinite(step):
            raise DeviError(
                f"exogenous has the key {shown(repr(step))}; expected optimizer steps as numbers, such as"
                " {5000: 'lr/10'}."
            )


def bundles_of(curves: list[Curve]) -> list[list[Curve]]:
    """Which curves are searched together: single quantities up to TOGETHER at a time, context apart; columns alone.

    Columns (features, frequencies) keep dates of their own: that two of them move at once is for the events to say.
    """
    bundles = [[curve] for curve in curves if curve.index is not None]
    for context in (False, True):
        alike = [curve for curve in curves if curve.index is None and curve.context == context]
        bundles += [alike[i : i + TOGETHER] for i in range(0, len(alike), TOGETHER)]
    return [[replace(curve, searches=len(bundles)) for curve in together] for together in bundles]


def _transition(event: Event, curves: list[Curve], trajectories: xr.Dataset, exogenous: Exogenous) -> Transition:
    lead = event.lead
    dates = {"onset": event.onset, "midpoint": event.centre, "end": event.end}
    first, last = lead.curve.x[[0, -1]]
    intervals = {
        name: (float(10 ** max(date + low, first)), float(10 ** min(date + high, last)))
        for (name, date), (low, high) in zip(dates.items(), lead.off, strict=True)
    }
    kind = kind_of(event, trajectories)
    label = named(event, kind, trajectories)
    order = told_order(event, label)
    support = tuple(
        Support(
            change.curve.metric,
            _number(change.curve, trajectories),
            "up" if size > 0 else "down",
            size,
            change.log_bayes_factor,
        )
        for change, size in ((change, moved(event, change)) for change in order)
    )
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
        against=against(event, curves),
        label=label,
        description=described(event, order, label, trajectories),
        exogenous=_cause(event, exogenous),
    )


def _evidence(event: Event, trajectories: xr.Dataset) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(
            metric=one.curve.metric,
            index=_number(one.curve, trajectories),
            steps=10**one.curve.x,
            values=one.curve.y,
            noise=one.curve.sigma,
            fitted=one.fitted,
            without=one.without,
            log_bayes_factor=one.log_bayes_factor,
            units=str(trajectories[one.curve.metric].attrs.get("units", "")),
            name=name_of(one.curve, trajectories),
        )
        for one in in_telling_order(event)
    )


def _number(curve: Curve, trajectories: xr.Dataset) -> int | None:
    """The column as others name it: its whole-number coordinate, else its position."""
    return None if curve.index is None else column_of(trajectories[curve.metric], curve.index).number


def _cause(event: Event, exogenous: Exogenous) -> str | None:
    """Label of the declared step in the first half of the event, or within two checkpoints before; the nearest one.

    What comes when half of it may be done has not caused it.
    """
    reach, half = 2 * event.lead.gap, event.centre + event.lead.off[1][1]
    near = {
        abs(np.log10(step) - event.onset): label
        for step, label in exogenous.items()
        if step > 0 and event.onset - reach <= np.log10(step) <= half
    }
    return near[min(near)] if near else None
