"""Stages: the stretches of a run between its transitions, each with the level and the slope of every metric."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from devi.transitions.transition import Stage, Transition


def stages_of(trajectories: xr.Dataset, transitions: Sequence[Transition], searched: Sequence[str]) -> list[Stage]:
    """From the first step to the last, cut at each transition's onset and end; stretches without a checkpoint drop out.

    Overlapping transitions leave no stage between them. level: median; slope: per decade of steps, least squares.
    """
    steps = trajectories["step"].values.astype(float)
    if not len(steps):
        return []
    bounds: list[tuple[float, float, str]] = []
    start, before = float(steps[0]), "start"
    for transition in transitions:
        bounds.append((start, transition.onset, f"{before} to {transition.label}"))
        start, before = max(start, transition.end), transition.label
    bounds.append((start, float(steps[-1]), f"after {before}" if transitions else "whole run"))
    if transitions:
        bounds[0] = (bounds[0][0], bounds[0][1], f"before {transitions[0].label}")
    stages = []
    for low, high, label in bounds:
        inside = (steps >= low * (1 - 1e-9)) & (steps <= high * (1 + 1e-9))  # dates went through log10 and back
        if high <= low or not inside.any():
            continue
        metrics = {}
        for name in searched:
            values = trajectories[name].transpose("step", ...).values.astype(float).reshape(len(steps), -1)
            for column in range(values.shape[1]):
                key = name if trajectories[name].ndim == 1 else f"{name}[{column}]"
                level = _level(steps[inside], values[inside, column])
                if level is not None:
                    metrics[key] = level
        chosen = steps[inside]
        stages.append(Stage(float(chosen[0]), float(chosen[-1]), metrics, label))
    return stages


def _level(steps: np.ndarray, values: np.ndarray) -> dict[str, float] | None:
    finite = np.isfinite(values)
    if not finite.any():
        return None
    late = finite & (steps > 0)
    x, y = np.log10(steps[late]), values[late]
    slope = 0.0
    if len(x) >= 2 and np.ptp(x) > 0:
        slope = float((x - x.mean()) @ (y - y.mean()) / ((x - x.mean()) @ (x - x.mean())))
    return {"level": float(np.median(values[finite])), "slope": slope}
