"""Transition, Stage, Skipped, Detection: what the search for transitions returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

GUESSED = "fewer than 4 checkpoints lie on one side of it: its dates are a guess"  # of one that is not resolvable

Exogenous = Mapping[int, str] | Mapping[float, str]  # step -> what was done to the run from outside
Kind = Literal["step", "jump", "ramp", "kink", "transient", "instability", "overfit_rise"]
Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Support:
    """One curve that changes at a transition.

    metric            name of the variable
    index             of its column: the coordinate if that is a whole number (frequencies start at 1), else the
                      position; None for a scalar metric
    direction         of the amplitude
    amplitude         level of the fit after the transition minus before it, in the metric's unit; of a transient how
                      far it goes before it comes back, of a kink the change of slope per decade (levels.py)
    log_bayes_factor  log evidence for the change against the run's slow trend without it, nats; above 0
    """

    metric: str
    index: int | None
    direction: Direction
    amplitude: float
    log_bayes_factor: float

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "index": self.index,
            "direction": self.direction,
            "amplitude": self.amplitude,
            "log_bayes_factor": self.log_bayes_factor,
        }


@dataclass(frozen=True)
class Transition:
    """A sustained change whose 10-90% span is at most one decade of steps, or an abrupt change against a slow trend.

    onset, midpoint, end  optimizer steps at which the fitted change has done 10, 50, 90% of its way
    intervals             90% intervals of these three, optimizer steps
    confidence            in [0, 1], from the logistic model in confidence.json
    resolvable            False if fewer than 4 checkpoints lie on one side of the change
    support, against      curves that move, the most telling first, and metrics that were searched and do not
    """

    id: str
    onset: float
    midpoint: float
    end: float
    type: Kind
    confidence: float
    resolvable: bool
    intervals: Mapping[str, tuple[float, float]]
    support: tuple[Support, ...]
    against: tuple[str, ...]
    label: str
    description: str
    exogenous: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry of `transitions.json`, schema devi/transitions/1."""
        return {
            "onset": self.onset,
            "midpoint": self.midpoint,
            "end": self.end,
            "id": self.id,
            "type": self.type,
            "confidence": self.confidence,
            "resolvable": self.resolvable,
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "support": [one.to_json() for one in self.support],
            "against": list(self.against),
            "label": self.label,
            "description": self.description,
            "exogenous": self.exogenous,
        }


@dataclass(frozen=True)
class Stage:
    """The run between two transitions.

    first, last  optimizer steps
    metrics      name -> {"level": median value, "slope": change per decade of steps}; columns are "name[index]",
                 with the index of Support
    """

    first: float
    last: float
    metrics: Mapping[str, Mapping[str, float]]
    label: str

    def to_json(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "last": self.last,
            "metrics": {name: dict(values) for name, values in self.metrics.items()},
            "label": self.label,
        }


@dataclass(frozen=True)
class Skipped:
    """A variable that was not searched, and why."""

    metric: str
    reason: str

    def to_json(self) -> dict[str, str]:
        return {"metric": self.metric, "reason": self.reason}


@dataclass(frozen=True)
class Evidence:
    """One curve at one transition, for a figure: what was measured and what the fits say, all (n,).

    fitted, without  the best fit, and the best one that lacks this change: a slow null and the other changes
    noise            standard deviation, correlation left out
    name             as a sentence has it: ticket density of embed.weight
    """

    metric: str
    index: int | None
    steps: np.ndarray
    values: np.ndarray
    noise: np.ndarray
    fitted: np.ndarray
    without: np.ndarray
    log_bayes_factor: float
    units: str = ""
    name: str = ""


@dataclass(frozen=True)
class Detection:
    """Everything one search gives: the transitions by midpoint, the stages between them, and what was not searched.

    evidence  id of a transition -> the curves that support it, the most telling first
    notices   what was done to the curves before the search, a sentence each
    """

    transitions: list[Transition]
    stages: list[Stage]
    skipped: list[Skipped]
    settings: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, tuple[Evidence, ...]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
