"""Shown: what of a change its curve itself shows, where other parts of the fit take it back.

Two parts of opposite sign that overlap draw what neither does alone: the corner where an accuracy arrives at 1 (a part
that goes too far, and one that takes it back; the curve never falls), or a peak (the fall begins where the rise lets
it, not where its own sigmoid would).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from devi.transitions.bundle import STEPS
from devi.transitions.curves import Curve
from devi.transitions.fit import Component, Shape, gap_at

Dates = tuple[float, float, float]  # log10(step) of 10, 50 and 90%

LEAST_SHOWN = 0.16  # of a change: of the 80% that it does within its span a fifth
TURNS = 0.8  # of how far a curve goes in a change's direction: where less is left at the end, it has turned in between


@dataclass(frozen=True)
class Course:
    """x (n,) the checkpoints of a curve; values (n,) its fit without sharp parts, never beyond what was measured.

    steps  (onset, end, amplitude) of the parts that are no sharper than the checkpoints can show
    """

    x: np.ndarray
    values: np.ndarray
    steps: tuple[tuple[float, float, float], ...]

    @classmethod
    def of(cls, curve: Curve, fitted: np.ndarray, parts: Sequence[Component], amplitudes: np.ndarray) -> Course:
        steps, values = [], fitted.copy()
        for one, amplitude in zip(parts, amplitudes, strict=True):
            if _is_broad(curve.x, one):
                steps.append((one.centre - one.width / 2, one.centre + one.width / 2, float(amplitude)))
            elif one.shape != "kink":
                values -= amplitude * one.column(curve.x)
        return cls(curve.x, np.clip(values, np.min(curve.y), np.max(curve.y)), tuple(steps))

    def shows(self, one: Component, amplitude: float) -> bool:
        """Whether the curve goes at all where this part goes, within its span; sharp parts and kinks do."""
        if not _is_broad(self.x, one):
            return True
        _, values = self._within(one.centre - one.width / 2, one.centre + one.width / 2, amplitude)
        return bool(np.max(values - np.minimum.accumulate(values)) >= LEAST_SHOWN * abs(amplitude))

    def dated(self, shape: Shape, dates: Dates, amplitude: float) -> Dates:
        """The dates of the longest way in the change's direction, if another part lets it turn; else as they are."""
        onset, _, end = dates
        opposed = any(size * amplitude < 0 and first < end and last > onset for first, last, size in self.steps)
        if not opposed or shape not in STEPS:
            return dates
        x, values = self._within(onset, end, amplitude)
        climbed = values - np.minimum.accumulate(values)
        last = int(np.argmax(climbed))
        if values[-1] - values[0] >= TURNS * climbed[last] or climbed[last] <= 0:
            return dates
        first = int(np.argmin(values[: last + 1]))
        done = np.maximum.accumulate(values[first : last + 1] - values[first]) / climbed[last]
        onset, centre, end = np.interp([0.1, 0.5, 0.9], done, x[first : last + 1])
        return float(onset), float(centre), float(end)

    def _within(self, onset: float, end: float, amplitude: float) -> tuple[np.ndarray, np.ndarray]:
        """Checkpoints within a span with its ends, (k,), and the values there, upwards where the change goes, (k,)."""
        x = np.concatenate([[onset], self.x[(self.x > onset) & (self.x < end)], [end]])
        return x, np.interp(x, self.x, self.values) * np.sign(amplitude)


def _is_broad(x: np.ndarray, one: Component) -> bool:
    return one.shape in STEPS and one.width > 2 * gap_at(x, one.centre)
