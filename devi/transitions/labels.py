"""What an event is called: its type and its label.

    generalization      test accuracy closes at least half of what it lacked to 1, about as much as training accuracy
    memorization        the training set is learned and the test set is not, or in smaller part
    circuit formation   the restricted loss falls to half or less while test accuracy does not rise (circuits.py)
    instability         the training loss spikes and nothing is learned
    overfitting         test loss rises, the training loss does not, and nothing is learned
    feature 2 enters    its norm rises by a good part of its range and of the largest norm
    4-gon → 5-gon       what the features form, where it is another regular polygon after than before

Everything else is called by what moves, first rank first: "test loss and LLC".
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from devi.transitions.circuits import CLEAR, circuit_forms, whole_of
from devi.transitions.detector import FEWEST_BESIDE, Change
from devi.transitions.events import Event
from devi.transitions.levels import levels, moved, nearest, sides, supporters
from devi.transitions.polygons import polygons_turn
from devi.transitions.ranks import CIRCUIT, telling_order
from devi.transitions.transition import Kind
from devi.transitions.words import column_of, listed, name_of

LEARNED = 0.5  # of what test accuracy lacked to 1: a network that gains less has not understood the task
ALIKE = 0.75  # of what training accuracy gains: a test accuracy that gains more than that learns with it
SPIKE = 10.0  # times the loss before: an instability; smooth training does not raise its loss so far
ENTERS = 0.4  # of the range, and of the largest norm: a smaller rise of a norm is a readjustment
BESIDE = 5  # checkpoints, of which most must show a polygon
LOSS_FLOOR = 1e-6  # below it float32 decides the loss


def kind_of(event: Event, trajectories: xr.Dataset) -> Kind:
    """The event's type."""
    lead = event.lead
    if event.fall is not None:
        return "transient"
    gains = _gains(event) or _forms(event, trajectories) or bool(_entering(event, trajectories, up=True))
    if not gains and (spikes_within(event, trajectories) or (event.spikes and _moves(event, "weight_norm", up=True))):
        return "instability"
    fits = not _moves(event, "train_loss", up=True)  # where the training loss rises too, nothing is fitted too well
    if lead.curve.metric == "test_loss" and moved(event, lead) > 0 and not gains and fits:
        return "overfit_rise"
    if lead.shape == "kink":
        return "kink"
    if lead.is_jump:
        return "jump"
    return "ramp" if lead.shape == "ramp" else "step"


def spikes_within(event: Event, trajectories: xr.Dataset) -> bool:
    """Whether the training loss rises SPIKE times over its lowest in the four checkpoints before, at any time here.

    Seen on a log axis from LOSS_FLOOR on: a spike of 1e-2 nats is nothing beside the 4 nats a run starts from.
    """
    if "train_loss" not in trajectories or trajectories["train_loss"].ndim != 1:
        return False
    steps, loss = trajectories["step"].values.astype(float), trajectories["train_loss"].values.astype(float)
    keep = np.isfinite(loss) & (steps > 0)
    x, loss = np.log10(steps[keep]), np.maximum(loss[keep], LOSS_FLOOR)
    gap = event.lead.gap
    here = np.flatnonzero((x >= event.onset - 1.5 * gap) & (x <= event.end + 1e-9))
    return any(loss[i] > SPIKE * np.min(loss[max(i - 4, 0) : i]) for i in here if i > 0)


def named(event: Event, kind: Kind, trajectories: xr.Dataset) -> str:
    """The event's label. Without a test metric in the trajectories nobody can tell memorization from learning."""
    if kind == "instability":
        return "instability"
    train = _learned(event, "train_accuracy")
    if _learned(event, "test_accuracy") >= CLEAR and _closed(event) >= max(LEARNED, train - CLEAR):
        return "generalization"
    turn = _turn(event, trajectories)
    for up, one, several in ((True, "enters", "enter"), (False, "leaves", "leave")):
        features = _entering(event, trajectories, up=up)
        if features:
            moves = f"feature{'s' * (len(features) > 1)} {listed(features)} {one if len(features) == 1 else several}"
            return moves + (f", {turn}" if turn else "")
    if turn and any(one.curve.index is None for one in supporters(event)):
        return turn
    memorizes = train >= CLEAR or ("train_accuracy" not in trajectories and _falls(event, "train_loss") >= CLEAR)
    improves = train < CLEAR and (_moves(event, "test_loss", up=False) or _moves(event, "test_accuracy", up=True))
    improves |= 0 < _gained(event, "test_accuracy") >= ALIKE * _gained(event, "train_accuracy")
    tested = "test_loss" in trajectories or "test_accuracy" in trajectories  # one that stays where it was says most
    if memorizes and tested and not improves and kind not in ("transient", "overfit_rise"):
        return "memorization"
    if _forms(event, trajectories):
        return "circuit formation"
    if kind == "overfit_rise":
        return "overfitting"
    words = listed(_subjects(event, trajectories))
    return f"{kind} in {words}" if kind in ("transient", "kink") else words


def _turn(event: Event, trajectories: xr.Dataset) -> str | None:
    """'4-gon → 5-gon' where the polygon of the features is one on the checkpoints before and another on those after."""
    if "polygon" not in trajectories or event.is_context:
        return None
    steps, labels = trajectories["step"].values.astype(float), trajectories["polygon"].values
    before, after = (labels[places] for places in sides(steps, 10**event.onset, 10**event.end))
    return polygons_turn([*map(str, before[-BESIDE:])], [*map(str, after[:BESIDE])])


def _subjects(event: Event, trajectories: xr.Dataset) -> list[str]:
    """Names of the first two quantities that move; of one loss on several splits, and of columns, only the first."""
    names: dict[str, str] = {}
    for one in in_telling_order(event):
        if one.curve.context and names:
            break
        family = one.curve.metric.removesuffix("_train").removesuffix("_test")
        names.setdefault(family, name_of(one.curve, trajectories))
    return list(names.values())[:2]


def in_telling_order(event: Event) -> list[Change]:
    """The event's changes, first rank first; within a metric the largest first."""

    def place(change: Change) -> tuple[float, ...]:
        order = telling_order(change.curve.metric, is_context=change.curve.context)
        return order, -change.share, change.curve.index or 0

    return sorted(supporters(event), key=place)


def _moves(event: Event, metric: str, *, up: bool) -> bool:
    return any(one.curve.metric == metric and (moved(event, one) > 0) == up for one in supporters(event))


def _falls(event: Event, metric: str) -> float:
    """Share of a metric's range by which it falls here, 0 if it does not."""
    return max(
        [0.0, *(-moved(event, one) / one.curve.spread for one in supporters(event) if one.curve.metric == metric)]
    )


def _learned(event: Event, accuracy: str) -> float:
    """Share of an accuracy's range that is gained here, 0 if it does not rise (or falls again)."""
    if event.fall is not None:
        return 0.0
    rises = (moved(event, one) / one.curve.spread for one in supporters(event) if one.curve.metric == accuracy)
    return max([0.0, *rises])


def _gained(event: Event, accuracy: str) -> float:
    """How much of an accuracy is gained here, in its unit, 0 if it does not rise."""
    return max([0.0, *(moved(event, one) for one in supporters(event) if one.curve.metric == accuracy)])


def _closed(event: Event) -> float:
    """Share of what test accuracy lacked to 1 (to 100, in per cent) before the event that it gains here."""
    for one in supporters(event):
        if one.curve.metric == "test_accuracy":
            whole = whole_of(one.curve.y)
            before = levels(event, one)[0]
            return moved(event, one) / max(whole - before, 0.01 * whole)
    return 0.0


def _forms(event: Event, trajectories: xr.Dataset) -> bool:
    """Whether the restricted loss falls to half or less between onset and end, and test accuracy does not follow yet,
    and the rest of what was measured says circuit as well.

    Not on the training pairs alone: there every frequency gains while they are memorized. Not from the first few
    checkpoints on: what falls there is what the first weights put out.
    """
    if event.fall is not None or _learned(event, "test_accuracy") >= CLEAR:
        return False
    for one in supporters(event):
        if one.curve.metric in ("restricted_loss", "restricted_loss_test") and one.shape != "kink":
            before, after = np.interp([one.onset, one.end], one.curve.x, one.curve.y)
            seen = np.sum(one.curve.x < one.onset) >= FEWEST_BESIDE
            if seen and after <= CIRCUIT * before and not one.curve.context:
                steps = trajectories["step"].values.astype(float)
                first, last = nearest(steps, 10**event.onset, 10**event.end)
                return circuit_forms(trajectories, np.array([first]), np.array([last]))
    return False


def _gains(event: Event) -> bool:
    """Whether some accuracy rises, or the training or test loss falls."""
    return any(
        (one.curve.metric.endswith("accuracy") and moved(event, one) > 0)
        or (one.curve.metric in ("train_loss", "test_loss") and moved(event, one) < 0)
        for one in supporters(event)
    )


def _entering(event: Event, trajectories: xr.Dataset, *, up: bool) -> list[str]:
    """Names of the features whose norm changes by most of its range and of a represented one's: a readjustment is no
    entry, nor is what a feature does that stays small."""
    found = [one for one in supporters(event) if one.curve.metric == "feature_norm" and one.curve.index is not None]
    if not found:
        return []
    norms = trajectories["feature_norm"].values
    least = ENTERS * float(np.max(norms, initial=0.0, where=np.isfinite(norms)))
    sign = 1 if up else -1
    chosen = sorted(
        int(one.curve.index or 0) for one in found if one.share > ENTERS and sign * moved(event, one) > least
    )
    return [column_of(trajectories["feature_norm"], index).name for index in chosen]
