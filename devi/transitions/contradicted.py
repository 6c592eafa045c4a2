"""Contradicted: where the values of a metric are plainly not what was declared of it, as sentences.

Such a declaration hides changes: a rise of what only falls is taken for no event.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from devi.transitions.curves import LARGEST
from devi.transitions.declared import declared
from devi.transitions.noise import roughness
from devi.transitions.transition import Exogenous
from devi.transitions.words import step_text

CLEAR = 8.0  # standard deviations of the noise: the extremes of a million points of white noise lie within 5
REACH = 0.15  # of the rows: what bends within less is noise; a long chord takes the course itself for it
MOST_AGAINST = 0.5  # of the whole range of values: a move of that size the other way is no noise around a course


def contradictions(trajectories: xr.Dataset, exogenous: Exogenous) -> Iterator[str]:
    """Of bounds and directions that a variable's attributes declare, and of interventions after the last step."""
    steps = trajectories["step"].values
    for name, variable in trajectories.data_vars.items():
        if variable.dims != ("step",) or variable.dtype.kind not in "fiub":
            continue
        y = variable.values.astype(float)
        is_usable = np.abs(y) <= LARGEST  # not NaN
        x, y = steps[is_usable], y[is_usable]
        if len(y) < 3:
            continue
        known = declared(str(name), variable, y)
        clear = CLEAR * roughness(np.arange(len(y), dtype=float), y, reach=REACH)
        yield from _beyond(str(name), known.bounds, x, y, clear)
        yield from _against(str(name), known.monotone, x, y, clear)
    for step, label in exogenous.items():
        if len(steps) and step > steps[-1]:
            yield (
                f"{label} at step {step:,} lies after the last row, step {steps[-1]:,.10g}, so that nothing can"
                " coincide with it."
            )


def _beyond(name: str, bounds: tuple[float, float], x: np.ndarray, y: np.ndarray, clear: float) -> Iterator[str]:
    low, high = bounds
    beyond = np.maximum(low - y, y - high)
    place = int(np.argmax(beyond))
    if beyond[place] > clear + 1e-6 * float(np.ptp(y)):
        yield (
            f"{name} is declared to stay within {low:g} and {high:g}, and is {y[place]:.4g} at step"
            f" {step_text(x[place], x)}: changes near such bounds may be missed. Are they right?"
        )


def _against(name: str, sign: int, x: np.ndarray, y: np.ndarray, clear: float) -> Iterator[str]:
    if sign == 0:
        return
    direction = "up" if sign > 0 else "down"
    best = np.maximum.accumulate(sign * y)  # the furthest that it had gone in its direction
    end = int(np.argmax(best - sign * y))
    start = int(np.argmax(sign * y[: end + 1]))
    back = abs(y[end] - y[start])
    if back > max(clear, MOST_AGAINST * float(np.ptp(y))):
        yield (
            f"{name} is declared to go {direction} only, and goes from {y[start]:.4g} at step {step_text(x[start], x)}"
            f" to {y[end]:.4g} at step {step_text(x[end], x)}, which counts as no event. Is the direction right?"
        )
