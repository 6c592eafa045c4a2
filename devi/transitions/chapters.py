"""What a stage is called: one line, from what its metrics do between its first checkpoint and its last.

    memorization        the training set is learned in it and the test set is not
    circuit formation   the restricted loss falls to half or less and the excluded loss rises; test accuracy does not
                        follow yet, but gets above chance at some time of the run (circuits.py)
    cleanup             the circuit stands, and the weights shrink while the test loss falls
    4-gon → 5-gon       of superposition: the polygon changes, or '4-gon' stays; '3 features represented'

(Nanda et al. 2023, arXiv:2301.05217, section 5; Chen et al. 2023, arXiv:2310.06301.) Otherwise neutral words: what
falls, what rises, or that nothing moves by a tenth of its range; of too few checkpoints to say that, only how many
they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from devi.errors import counted
from devi.transitions.circuits import CLEAR, circuit_forms, whole_of
from devi.transitions.labels import LEARNED, LOSS_FLOOR
from devi.transitions.levels import ERRORS
from devi.transitions.noise import local_noise
from devi.transitions.polygons import polygon_of, polygons_turn
from devi.transitions.ranks import CIRCUIT, is_context, telling_order
from devi.transitions.words import METRICS, from_to, name_at

MOVES = 0.1  # of a metric's range over the run: less is no news
STILL = "nothing moves by a tenth of its range"
FOLLOWS = 0.5  # of what training accuracy gains: what the test set gains with it was not memorized
SHRINKS = 0.02  # of the weight norm
TOLD = 2  # metrics in a line
EDGE = 3  # checkpoints at either end of a stage, of which the median is its level there
OF_MEDIAN = {1: 1.0, 2: 0.71, 3: 0.67}  # standard deviation of the median of so many values of normal noise of 1


def named_stage(trajectories: xr.Dataset, inside: np.ndarray, searched: Sequence[str]) -> str:
    """The line of the stage of these checkpoints, (step,) bool."""
    places = np.flatnonzero(inside)
    if len(places) == 1:
        return "one checkpoint"
    scalars = [name for name in searched if trajectories[name].ndim == 1]
    if not scalars:  # a run of vector-valued metrics alone: of its columns, those that move most
        trajectories = _by_column(trajectories, searched)
        scalars = list(map(str, trajectories.data_vars))
    ends = {name: pair for name in scalars if (pair := _ends(trajectories[name], places)) is not None}
    name = _of_learning(trajectories, ends, places) or _of_polygons(trajectories, places)
    moves = _moves(trajectories, ends, places)
    if name is None:
        is_told = ends and len(places) > EDGE
        return ", ".join(moves) or (STILL if is_told else counted(len(places), "checkpoint"))
    return f"{name}: {', '.join(moves)}" if moves else name


def _by_column(trajectories: xr.Dataset, searched: Sequence[str]) -> xr.Dataset:
    """Each column of vector-valued metrics as a metric of its own, by its readable name."""
    columns = {}
    for name in searched:
        values = trajectories[name].transpose("step", ...).values
        for position in range(values.shape[1]):
            columns[name_at(name, position, trajectories)] = ("step", values[:, position])
    return xr.Dataset(columns, coords={"step": trajectories["step"]})


def _ends(variable: xr.DataArray, places: np.ndarray) -> tuple[float, float] | None:
    """Levels at the beginning and at the end of a stage; None with fewer than two values."""
    values = variable.values.astype(float)[places]
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return None
    first, last = _edges(values)
    return float(np.median(first)), float(np.median(last))


def _edges(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first values of a stage and its last, EDGE of each; none is among both."""
    edge = max(1, min(EDGE, len(values) // 2))
    return values[:edge], values[-edge:]


def _of_learning(trajectories: xr.Dataset, ends: dict[str, tuple[float, float]], places: np.ndarray) -> str | None:
    """The stage of a network that may memorize, form a circuit, and clean up."""

    def gain(metric: str) -> float:
        return ends[metric][1] - ends[metric][0] if metric in ends else 0.0

    whole = whole_of(trajectories["test_accuracy"].values) if "test_accuracy" in ends else 1.0
    stands = gain("test_accuracy") < CLEAR * whole  # and does not follow yet
    follows = gain("test_accuracy") >= FOLLOWS * gain("train_accuracy")
    if "test_accuracy" in ends and gain("train_accuracy") >= CLEAR * whole and stands and not follows:
        return "memorization"
    if "restricted_loss" not in ends:
        return None
    losses = trajectories["restricted_loss"].values.astype(float)
    losses = losses[np.isfinite(losses)]  # some: a stage has its ends
    first = float(losses[0])
    before, after = ends["restricted_loss"]
    if before <= CIRCUIT * first and "weight_norm" in ends and gain("test_loss") < 0:
        shrinks = gain("weight_norm") < -SHRINKS * ends["weight_norm"][0]
        if shrinks and ends["test_loss"][0] > LOSS_FLOOR and ends["test_loss"][1] <= CIRCUIT * ends["test_loss"][0]:
            return "cleanup"
    # Context where the loss never fell to half of its start: no circuit.
    falls = after <= CIRCUIT * before and before > LOSS_FLOOR
    ahead = "test_accuracy" not in ends or ends["test_accuracy"][1] < LEARNED * whole
    if falls and stands and ahead and not is_context("restricted_loss", losses):
        return "circuit formation" if circuit_forms(trajectories, *_edges(places)) else None
    return None


def _of_polygons(trajectories: xr.Dataset, places: np.ndarray) -> str | None:
    """The polygon of the features, or the one that it turns from and into; how many are represented if it is none."""
    if "polygon" in trajectories:
        seen = [str(label) for label in trajectories["polygon"].values[places]]
        third = max(len(seen) // 3, 1)
        if polygon_of(seen) is not None:
            return polygon_of(seen)
        if turn := polygons_turn(seen[:third], seen[-third:]):
            return turn
    if "features_represented" in trajectories:
        counts = trajectories["features_represented"].values.astype(float)[places]
        if not np.isfinite(counts).any():
            return None
        count = int(np.median(counts[np.isfinite(counts)]))
        return f"{count or 'no'} feature{'s' * (count > 1)} represented"
    return None


def _error(trajectories: xr.Dataset, name: str, places: np.ndarray) -> float:
    """Of the difference between the two levels of a stage: by the curve's noise, or by standard errors if larger."""
    values = trajectories[name].values.astype(float)
    noise = np.full(len(values), np.nan)
    finite = np.isfinite(values)
    if finite.sum() > EDGE:
        noise[finite] = local_noise(np.arange(finite.sum(), dtype=float), values[finite])
    inside = noise[places][np.isfinite(noise[places])]
    own = 0.0
    if len(inside):
        ends = _edges(inside)
        own = float(np.hypot(*(OF_MEDIAN[len(end)] * np.median(end) for end in ends)))
    if f"{name}_se" not in trajectories:
        return own
    errors = trajectories[f"{name}_se"].values.astype(float)[places]
    errors = errors[np.isfinite(errors)]
    return max(own, float(np.hypot(*map(np.median, _edges(errors))))) if len(errors) else own


def _moves(trajectories: xr.Dataset, ends: dict[str, tuple[float, float]], places: np.ndarray) -> list[str]:
    """'test loss falls 12.4 → 7.72' of the first TOLD metrics that move, of others the furthest; context only
    where nothing else does."""
    rows = []
    for name, (before, after) in ends.items():
        values = trajectories[name].values.astype(float)
        values = values[np.isfinite(values)]
        share = abs(after - before) / max(float(np.ptp(values)), 1e-300)
        if share >= MOVES and abs(after - before) > ERRORS * _error(trajectories, name, places):
            context = is_context(name, values)
            rows.append((context, telling_order(name, is_context=context), -share, name))
    families: dict[str, str] = {}  # of one loss on several splits only the first
    for context, _, _, name in sorted(rows):
        if not context or all(row[0] for row in rows):
            families.setdefault(name.removesuffix("_train").removesuffix("_test"), name)
    texts = []
    for name in list(families.values())[:TOLD]:
        before, after = ends[name]
        word = METRICS.get(name, name.replace("_", " "))
        texts.append(f"{word} {'rises' if after > before else 'falls'} {from_to(before, after)}")
    return texts
