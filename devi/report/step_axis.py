"""The step axis that every chart shares: logarithmic, with step 0 drawn apart at its left end.

Transitions are defined on log10(step), where step 0 has no place; it is drawn one gap left of the first positive step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count

import numpy as np

from devi.report.panels import log_ticks

TITLE = "training step (optimizer steps)"
GAP = 0.12  # of the axis, between step 0 and the first positive step


@dataclass(frozen=True)
class StepAxis:
    """Where each step is drawn. `scale` is 'log' or 'linear'; `zero` is where step 0 is drawn on a log axis."""

    scale: str
    low: float
    high: float
    zero: float | None
    ticks: tuple[float, ...]

    @classmethod
    def of(cls, steps: np.ndarray) -> StepAxis:
        steps = np.asarray(steps, dtype=float)
        positive = steps[steps > 0]
        if len(positive) < 2 or positive.max() < 10 * positive.min():
            low, high = (float(steps.min()), float(steps.max())) if len(steps) else (0.0, 1.0)
            whole = _whole_ticks(low, high)
            if low == high:
                low, high = low - 1, high + 1
            margin = 0.02 * (high - low)
            return cls("linear", low - margin, high + margin, None, whole)
        first, last = float(positive.min()), float(positive.max())
        decades = math.log10(last / first)
        zero = first / 10 ** (GAP * decades) if (steps == 0).any() else None
        low = (zero or first) / 10 ** (0.02 * decades)
        ticks = log_ticks(first, last, limit=9)
        # A tick label that would touch the "0" of step 0 is dropped.
        ticks = [tick for tick in ticks if zero is None or math.log10(tick / zero) > 0.06 * decades]
        return cls("log", low, last * 10 ** (0.02 * decades), zero, ((zero,) if zero else ()) + tuple(ticks))

    def position(self, step: float) -> float:
        """Where `step` is drawn, in the scale's own numbers."""
        if self.scale == "log":
            return float(step) if step > 0 else (self.zero or self.low)
        return float(step)

    def share(self, step: float) -> float:
        """How far along the axis `step` is drawn: 0 at its left end, 1 at its right."""
        low, high, at = self.low, self.high, self.position(step)
        if self.scale == "log":
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low)

    def rows(self, steps: list[float], apart: float = 0.035) -> list[int]:
        """In which row, from 0 up, the number of each of these ascending steps stands, so that no two touch."""
        rows: list[int] = []
        lasts: list[float] = []  # of each row, how far along the axis it is taken
        for step in steps:
            at = self.share(step)
            row = next((k for k, last in enumerate(lasts) if at - last >= apart), len(lasts))
            lasts[row:] = [at, *lasts[row + 1 :]]
            rows.append(row)
        return rows

    def label(self, tick: float) -> str:
        return "0" if tick == self.zero else f"{tick:,.10g}"

    @property
    def note(self) -> str:
        if self.scale == "linear":
            return "The step axis is linear."
        if self.zero is None:
            return "The step axis is logarithmic; the run has no checkpoint at step 0."
        return "The step axis is logarithmic; step 0, the initialization, is drawn apart at its left end."


def _whole_ticks(low: float, high: float, limit: int = 9) -> tuple[float, ...]:
    """Multiples of 1, 2 or 5 times a power of 10 from low to high: there is no step 2.5, and no two ticks are '1'."""
    gaps = (digit * 10**power for power in count() for digit in (1, 2, 5))
    apart = next(gap for gap in gaps if high - low <= (limit - 1) * gap)
    return tuple(float(apart * k) for k in range(math.ceil(low / apart), math.floor(high / apart) + 1))
