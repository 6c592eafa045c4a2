"""Live: transitions reported while a run goes on, once they are certain, with how late that is.

A transition is certain when two looks in a row find it, each with the confidence of the operating point, with four
checkpoints or more behind it, and with midpoints inside each other's intervals; a bend, a step and a ramp when they are
old enough besides. A look costs as much as an analysis of the curves so far, so there is one each time the run has
grown by a tenth of itself: 24 a decade. Where rows come in a burst, as all of a long table do at the first look, it is
two: at what the look before would have seen, and at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from devi.errors import DeviError, shown, unknown_name
from devi.transitions.fusion import OPERATING_POINTS, detect
from devi.transitions.transition import Exogenous, Skipped, Transition

GROWTH = 1.1  # from one look to the next
KINK_AGE = 1.0  # decades behind a bend before it is told: until then it may be how a step begins, which takes as long
STEP_AGE = 0.4  # of its own span behind a step or a ramp: until then it may be the first part of a longer one
DENSE = 2.0  # times the step at which a transition became certain: until then more checkpoints are worth their space


@dataclass(frozen=True)
class Certain:
    """A transition that has just become certain. step: when; delay: optimizer steps since its end.

    replaces  what was told before and is seen as a part of this one now
    """

    transition: Transition
    step: float
    replaces: tuple[Transition, ...] = ()

    @property
    def delay(self) -> float:
        return self.step - self.transition.end


class Follower:
    """Looks at growing curves: `look(trajectories)` returns what has become certain since the last look.

    operating_point, exogenous  as of `detect`
    """

    def __init__(self, operating_point: str = "strict", exogenous: Exogenous | None = None) -> None:
        if operating_point not in OPERATING_POINTS:
            raise unknown_name("operating point", operating_point, OPERATING_POINTS)
        self._find = partial(detect, operating_point=operating_point, exogenous=exogenous)
        self.last = 0.0  # step of the last look
        self.notices: list[str] = []  # of the last look, as of Detection
        self.skipped: list[Skipped] = []  # likewise
        self.searched: set[str] = set()  # the other variables
        self._seen: list[Transition] = []
        self._told: list[Transition] = []

    def is_due(self, step: float) -> bool:
        """Whether the run has grown enough for another look."""
        return step >= GROWTH * self.last

    def back_to(self, step: float) -> None:
        """The run goes on from an earlier step, or starts anew (0): what came later is forgotten."""
        self.last = min(self.last, step)
        self._seen = [one for one in self._seen if one.end <= step]
        self._told = [one for one in self._told if one.end <= step]

    @property
    def uncertain(self) -> list[Transition]:
        """What the last look has seen and is not certain yet."""
        return [one for one in self._seen if not any(_same(one, other) for other in self._told)]

    def look(self, trajectories: xr.Dataset) -> list[Certain]:
        step = float(trajectories["step"].values[-1])
        if step > GROWTH**2 * self.last:  # a burst: the look before this one would have seen so much of it
            earlier = trajectories.isel(step=trajectories["step"].values <= step / GROWTH)
            if self.last == 0 or earlier["step"].values[-1:].max(initial=0) > self.last:
                self._seen = [one for one in self._find(earlier).transitions if one.resolvable]
        self.last = step
        searched = self._find(trajectories)
        self.notices, self.skipped = searched.notices, searched.skipped
        left_out = {one.metric for one in searched.skipped}
        self.searched = {str(name) for name in trajectories.data_vars if not str(name).endswith("_se")} - left_out
        found = [one for one in searched.transitions if one.resolvable]
        sure = [one for one in found if any(_same(one, other) for other in self._seen) and _has_age(one, step)]
        new = [one for one in sure if not any(_same(one, other) for other in self._told)]
        self._seen = found
        # Dates sharpen as the run goes on: what was told is remembered as it is seen now.
        told = [next((one for one in found if _same(one, old)), old) for old in self._told]
        gone = [old for old in told if old not in found]
        result = [Certain(one, step, tuple(old for old in gone if _is_part(old, one))) for one in new]
        self._told = [old for old in told if not any(old in one.replaces for one in result)] + new
        return result


class Watch:
    """A training loop's own curves, followed: one line in the loop.

        watch = Watch()
        ...
            for one in watch(step, train_loss=loss, test_accuracy=accuracy):
                print(one.transition.description, one.delay)

    operating_point and exogenous are those of `detect`. `watch.is_dense` asks for more checkpoints: true from a
    transition on until the run is DENSE times as long. The values of one step may come in several calls; a run that
    is resumed goes back to an earlier step, and what was taken after that is dropped.
    """

    def __init__(self, operating_point: str = "strict", exogenous: Exogenous | None = None) -> None:
        self._follower = Follower(operating_point, exogenous)
        self._rows: list[tuple[int, dict[str, float]]] = []
        self._dense_until = 0.0

    def __call__(self, step: int, **metrics: float) -> list[Certain]:
        """Take the values of one step; returns the transitions that have just become certain, mostly none."""
        values = {name: _number(name, value) for name, value in metrics.items()}
        if not isinstance(step, int | float | np.number) or not 0 <= step < np.inf:
            raise DeviError(f"step {step} is no optimizer step; expected 0, 1, 2, …: watch(step, train_loss=loss).")
        if self._rows and step < self._rows[-1][0]:
            self._rows = [row for row in self._rows if row[0] <= step]
            self._follower.back_to(step)
        if self._rows and step == self._rows[-1][0]:
            self._rows[-1][1].update(values)
        else:
            self._rows.append((step, values))
        if not self._follower.is_due(step):
            return []
        found = self._follower.look(self.trajectories)
        if found:
            self._dense_until = DENSE * step
        return found

    @property
    def trajectories(self) -> xr.Dataset:
        """Everything taken so far, NaN where a step had no value of a metric."""
        names = dict.fromkeys(name for _, row in self._rows for name in row)
        data = {name: ("step", np.array([row.get(name, np.nan) for _, row in self._rows])) for name in names}
        return xr.Dataset(data, coords={"step": [step for step, _ in self._rows]})

    @property
    def is_dense(self) -> bool:
        return bool(self._rows) and self._rows[-1][0] < self._dense_until


def _has_age(one: Transition, step: float) -> bool:
    if one.type == "kink":
        return step >= 10**KINK_AGE * one.midpoint
    return one.type not in ("step", "ramp") or step >= one.end * (one.end / one.onset) ** STEP_AGE


def _is_part(one: Transition, other: Transition) -> bool:
    return other.onset <= one.midpoint <= other.end


def _same(one: Transition, other: Transition) -> bool:
    """Whether two looks saw the same transition: each one's midpoint lies in the other's span or interval."""
    pairs = ((one, other), (other, one))
    return all(
        min(b.onset, b.intervals["midpoint"][0]) <= a.midpoint <= max(b.end, b.intervals["midpoint"][1])
        for a, b in pairs
    )


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise DeviError(
            f"{name} = {shown(repr(value), 60)} is no number; expected one for each step, nan where there is none:"
            f" watch(step, {name}=loss.item())."
        ) from None
