"""Stages: the stretches of a run between its transitions, each with the level and the slope of every metric, and a line
that says what happens in it (chapters.py) and where the learning coefficient stays (plateaus.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from devi.transitions.chapters import named_stage
from devi.transitions.plateaus import Plateau, plateaus_of
from devi.transitions.transition import Stage, Transition
from devi.transitions.words import METRICS, column_of, step_text, with_error


def stages_of(trajectories: xr.Dataset, transitions: Sequence[Transition], searched: Sequence[str]) -> list[Stage]:
    """From the first step to the last, cut at each transition's onset and end; stretches without a checkpoint drop out.

    Overlapping transitions leave no stage between them. level: median; slope: per decade of steps, least squares.
    """
    steps = trajectories["step"].values.astype(float)
    if not len(steps):
        return []
    bounds: list[tuple[float, float]] = []
    start = float(steps[0])
    for transition in transitions:
        bounds.append((start, transition.onset))
        start = max(start, transition.end)
    bounds.append((start, float(steps[-1])))
    stages = []
    for low, high in bounds:
        inside = (steps >= low * (1 - 1e-9)) & (steps <= high * (1 + 1e-9))  # dates went through log10 and back
        if high <= low or not inside.any():
            continue
        metrics = {}
        for name in searched:
            variable = trajectories[name].transpose("step", ...)
            values = variable.values.astype(float).reshape(len(steps), -1)
            for column in range(values.shape[1]):
                # As a transition's support has it: frequency 1 is 1, though it stands first.
                key = name if variable.ndim == 1 else f"{name}[{column_of(variable, column).number}]"
                level = _level(steps[inside], values[inside, column])
                if level is not None:
                    metrics[key] = level
        chosen = steps[inside]
        plateaus = _plateaus_told(plateaus_of(trajectories, inside), chosen, steps)
        label = "; ".join([named_stage(trajectories, inside, searched), *plateaus])
        stages.append(Stage(float(chosen[0]), float(chosen[-1]), metrics, label))
    return stages


def _plateaus_told(plateaus: Sequence[Plateau], chosen: np.ndarray, steps: np.ndarray) -> list[str]:
    """'LLC plateau at 4.3 ± 0.1' of each, with its steps where the stage is longer: the curve may move in the rest."""
    texts = []
    for one in plateaus:
        text = f"{METRICS['llc']} plateau at {with_error(one.level, one.error)}"
        if one.first > chosen[0] or one.last < chosen[-1]:
            text += f" from step {step_text(one.first, steps)} to {step_text(one.last, steps)}"
        texts.append(text)
    return texts


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
