"""What really happens in a training run, read off its curves by rule, and how near reported transitions come to it.

A truth is the 10-90% way of one quantity from its first to its furthest value:

  superposition     up, the norm of each feature that ends above 0.5
  modular addition  up, test accuracy ('generalization') and train accuracy ('memorization'), of runs that generalize;
                    of twins (no weight decay, shuffled labels) train accuracy only
  deep linear       up, the strength of each mode; matrix completion: likewise
  digit addition    down, the loss of each digit
  induction         up, the prefix matching of the best head, where it ends above 0.3; of one layer it does not, which
                    learns what tokens there are in a block, and then it is, down, the training loss

Columns half of whose way is done at the same step, within SAME, are one truth. One that begins before the fifth
checkpoint, or takes more than the decade that a transition may take, may be found and need not be.

A reported transition matches the truth of its label, or of columns that its support all names with that direction (any
of them for induction), if their spans overlap within a tenth, one to one. Reported ones with such a label or such a
column that match none are false; others (circuit formation, instability, a feature that leaves, ...) have no rule and
are counted apart.

Null windows are the run up to half the beginning of its first truth and from twice the end of its last one on, where
they have LEAST checkpoints: whatever is found there, searched by itself, is an alarm. They end at half the step where a
loss in nats first falls below LOSS_FLOOR: from there float32 decides the gradient, and Adam becomes unstable, comes to
rest against the weight decay, or lets the weights turn, which are no null. `alarms_late` are those of the windows that
do not end there.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from devi.transitions.fusion import find_transitions
from devi.transitions.transition import Transition

COLUMNS = {"feature_norm": "up", "mode_strength": "up", "digit_loss": "down"}  # whose columns have a truth each
ALSO = {"feature_norm": ("feature_dimensionality",)}  # that moves with it
HEADS = "prefix_matching"  # of which the best column has one
PRESENT = {"feature_norm": 0.5, "mode_strength": 0.0, HEADS: 0.3}  # at the end: a column that ends lower has none
SAME = 1.05
SLOW = 10.0  # times: what takes longer is no transition
LEAST = 20  # checkpoints of a null window
LOSS_FLOOR = 1e-6  # nats
RULED = re.compile(r"generalization|memorization|features? [^,]* enter")  # labels that have a rule


class Truth(NamedTuple):
    """low, middle, high: steps at which 10, 50 and 90% of the way are first done; label as devi would call it.

    metric, columns, direction  of what moves; any of its columns if that is empty; metric is None: by label
    is_due  whether four checkpoints or more lie before it, and it takes no more than a decade
    """

    label: str
    metric: str | None
    columns: tuple[int, ...]
    direction: str
    low: float
    middle: float
    high: float
    is_due: bool


def truths(trajectories: xr.Dataset, *, is_twin: bool) -> list[Truth]:
    """In the order of time."""
    columns = next((metric for metric in COLUMNS if metric in trajectories), None)
    if columns is not None:
        table = trajectories[columns].values  # (step, column)
        there = [k for k in range(table.shape[1]) if table[-1, k] > PRESENT.get(columns, -np.inf)]
        there = [k for k in there if (table[-1, k] > table[0, k]) == (COLUMNS[columns] == "up")]
        found = [_way(columns, (k,), COLUMNS[columns], trajectories, table[:, k]) for k in there]
    elif HEADS in trajectories:
        best = trajectories[HEADS].values.max(1)
        found = [
            _way(HEADS, (), "up", trajectories, best)
            if best[-1] > PRESENT[HEADS]
            else _way("train_loss", (), "down", trajectories, trajectories["train_loss"].values)
        ]
    else:
        named = {"memorization": "train_accuracy"} | ({} if is_twin else {"generalization": "test_accuracy"})
        found = [
            _way(None, (), "up", trajectories, trajectories[metric].values, label=label)
            for label, metric in named.items()
        ]
    return _together(found)


def _way(
    metric: str | None,
    columns: tuple[int, ...],
    direction: str,
    trajectories: xr.Dataset,
    values: np.ndarray,
    label: str = "",
) -> Truth:
    """From the first to the furthest value."""
    steps = trajectories["step"].values.astype(float)
    furthest = values.max() if direction == "up" else values.min()
    share = (values - values[0]) / (furthest - values[0])
    places = {part: int(np.argmax(share >= part)) for part in (0.1, 0.5, 0.9)}
    low, middle, high = (_crossing(steps, share, i, part) for part, i in places.items())
    is_due = places[0.1] >= 4 and high <= SLOW * low
    return Truth(label or str(metric), metric, columns, direction, low, middle, high, is_due)


def _together(found: list[Truth]) -> list[Truth]:
    """Columns that move at once as one truth: from the first of them to the last."""
    result: list[Truth] = []
    for one in sorted(found, key=lambda truth: truth.middle):
        last = result[-1] if result else None
        if last is not None and one.columns and last.columns and one.middle <= SAME * last.middle:
            low, high = min(last.low, one.low), max(last.high, one.high)
            is_due = last.is_due and one.is_due and high <= SLOW * low
            result[-1] = last._replace(columns=(*last.columns, *one.columns), low=low, high=high, is_due=is_due)
        else:
            result.append(one)
    return [one._replace(label=" ".join([one.label, *map(str, one.columns)])) for one in result]


def _crossing(steps: np.ndarray, share: np.ndarray, i: int, part: float) -> float:
    """Where the share crosses between two checkpoints, on the log axis."""
    along = (part - share[i - 1]) / max(share[i] - share[i - 1], 1e-12)
    x = np.log10(np.maximum(steps[i - 1 : i + 1], 0.5))
    return float(10 ** (x[0] + along * (x[1] - x[0])))


def matches(found: list[Transition], true: list[Truth]) -> dict[int, int]:
    """Reported transition -> truth, one to one, with the smallest sum of distances between midpoints."""
    if not found or not true:
        return {}
    far = 1e6
    cost = np.array([[abs(np.log(t.midpoint / one.middle)) if _fits(t, one) else far for one in true] for t in found])
    rows, columns = linear_sum_assignment(cost)
    return {int(r): int(c) for r, c in zip(rows, columns, strict=True) if cost[r, c] < far}


def _fits(t: Transition, one: Truth) -> bool:
    overlap = t.onset <= 1.1 * one.high and t.end >= one.low / 1.1
    if one.metric is None:
        return overlap and t.label == one.label
    if one.metric == "train_loss" and _forms_heads(t):
        return False
    metrics = (one.metric, *ALSO.get(one.metric, ()))
    moves = {s.index for s in t.support if s.metric in metrics and s.direction == one.direction}
    # A feature that enters makes others readjust; modes and digits do not.
    is_exact = one.metric in ALSO or not one.columns or moves == set(one.columns)
    return overlap and bool(moves) and moves.issuperset(one.columns) and is_exact


def _forms_heads(t: Transition) -> bool:
    return any(s.metric == HEADS and s.direction == "up" for s in t.support)


def has_rule(t: Transition) -> bool:
    """Whether it says something of which a rule knows if it is true."""
    ruled = {metric: way for metric, way in COLUMNS.items() if metric not in ALSO}  # features have their labels
    return bool(RULED.match(t.label)) or _forms_heads(t) or any(ruled.get(s.metric) == s.direction for s in t.support)


class Count(NamedTuple):
    """Of one run. onsets, midpoints: errors of the matches, decades; alarms: labels found in the null window."""

    true: int
    found: int
    false: int
    others: int
    onsets: list[float]
    midpoints: list[float]
    windows: int
    alarms: list[str]
    alarms_late: int


def counted(trajectories: xr.Dataset, found: list[Transition], *, is_twin: bool) -> Count:
    true = truths(trajectories, is_twin=is_twin)
    pairs = matches(found, true)
    rest = [t for i, t in enumerate(found) if i not in pairs]
    ruled = [t for t in rest if has_rule(t)]
    sure = [(found[i], true[j]) for i, j in pairs.items() if true[j].is_due]
    windows, longer = null_windows(trajectories, true), null_windows(trajectories, true, floor=0.0)
    return Count(
        sum(truth.is_due for truth in true),
        len(sure),
        len(ruled),
        len(rest) - len(ruled),
        [float(abs(np.log10(t.onset / truth.low))) for t, truth in sure],
        [float(abs(np.log10(t.midpoint / truth.middle))) for t, truth in sure],
        len(windows),
        [t.label for window in windows for t in find_transitions(window)],
        sum(len(find_transitions(window)) for window in longer),
    )


def null_windows(trajectories: xr.Dataset, true: list[Truth], *, floor: float = LOSS_FLOOR) -> list[xr.Dataset]:
    """The run before its first truth and after its last one, as far as these are long enough to say anything."""
    steps = trajectories["step"].values
    loss = trajectories["train_loss"]
    below = np.flatnonzero(loss.values < floor) if loss.attrs.get("units") == "nats" else []
    last = 0.5 * steps[below[0]] if len(below) else np.inf
    early = steps <= min(0.5 * min((truth.low for truth in true), default=np.inf), last)
    late = (steps >= 2 * max((truth.high for truth in true), default=np.inf)) & (steps <= last)
    windows = [trajectories.isel(step=np.flatnonzero(part)) for part in (early, late)]
    return [window for window in windows if window.sizes["step"] >= LEAST]


HEADER = [
    "case", "runs", "truths", "F1", "F1 if all else were false", "onset off, decades", "midpoint off, decades",
    "null windows", "alarms per window", "of them", "alarms with the stretch that float32 decides",
]  # fmt: skip


def row_of(case: str, counts: list[Count]) -> list[str]:
    """Medians of the errors, sums of the rest."""
    true, found, false, others = (sum(getattr(one, name) for one in counts) for name in Count._fields[:4])
    onsets, midpoints = ([error for one in counts for error in getattr(one, name)] for name in ("onsets", "midpoints"))
    windows, alarms = sum(one.windows for one in counts), [label for one in counts for label in one.alarms]
    kinds = ", ".join(
        f"{alarms.count(label)} {label}" for label in sorted(sorted(set(alarms)), key=alarms.count, reverse=True)
    )
    return [
        case, str(len(counts)), str(true), _f1(true, found, false), _f1(true, found, false + others),
        f"{np.median(onsets):.3f}" if onsets else "-", f"{np.median(midpoints):.3f}" if midpoints else "-",
        str(windows), f"{len(alarms) / windows:.2f}" if windows else "-", kinds or "-",
        str(sum(one.alarms_late for one in counts)),
    ]  # fmt: skip


def _f1(true: int, found: int, false: int) -> str:
    return f"{2 * found / max(true + found + false, 1):.2f}" if true else "-"
