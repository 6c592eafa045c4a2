"""Which metrics may make an event, and which only support one: what a network does before how its weights hold it.

A transition is a change of what the network computes: an accuracy, a loss, the learning coefficient, the norm of a
feature, or a metric that we do not know. Norms, masks, sparsities and single frequencies are its context: weights may
shrink and masks may drift while the function stays the same, so their changes support an event that something else
makes. They make one themselves only where nothing else was measured.

The restricted loss measures a circuit. Where it never falls to half of its first value the key frequencies hold none,
and what it does there is context as well (twins without weight decay, shuffled labels: it wanders around its start).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CONTEXT_STARTS = ("ticket_", "layer_", "weight_norm", "gini_")
CONTEXT_ENDS = ("_entropy", "_spectrum")
CONTEXT_NAMES = ("excluded_loss_by_frequency", "logit_variance_share", "llc_step_bias")
CIRCUIT = 0.5  # of its first value: where the restricted loss must fall for the key frequencies to be a circuit

TOLD = 4  # quantities in a sentence; the rest is counted
COLUMNS_TOLD = 2  # of one metric: ten frequencies that move alike say no more than two
# In this order a sentence tells what moved, and a label names it.
FIRST_RANK = (
    "test_accuracy",
    "train_accuracy",
    "test_loss",
    "train_loss",
    "llc",
    "restricted_loss",
    "restricted_loss_test",
    "restricted_loss_train",
    "excluded_loss",
    "feature_norm",
)


def is_context(metric: str, values: np.ndarray) -> bool:
    """Whether a metric only supports events. values: its finite values along the run, (n,)."""
    if metric.startswith("restricted_loss"):
        return bool(np.min(values) > CIRCUIT * values[0])
    return is_context_name(metric)


def is_context_name(metric: str) -> bool:
    return metric.startswith(CONTEXT_STARTS) or metric.endswith(CONTEXT_ENDS) or metric in CONTEXT_NAMES


def telling_order(metric: str, *, is_context: bool) -> int:
    """Place of a metric in a sentence: the first rank in its order, then others, context last."""
    if metric in FIRST_RANK:
        return FIRST_RANK.index(metric)
    return len(FIRST_RANK) + is_context


def told(metrics: Sequence[str], context: Sequence[bool]) -> list[int]:
    """Which of the curves that move, given in telling order, a sentence tells: their places.

    Context is counted only, unless there is nothing else to tell; the learning coefficient is told in any case.

    metrics, context  of each curve: its metric, and whether it is context
    """
    first_rank = [place for place, is_context in enumerate(context) if not is_context] or list(range(len(metrics)))
    varied = [place for k, place in enumerate(first_rank) if _before(metrics, first_rank[:k], place) < COLUMNS_TOLD]
    chosen = varied[:TOLD]
    if "llc" in metrics and metrics.index("llc") not in chosen:
        chosen[TOLD - 1 :] = [metrics.index("llc")]
    return chosen


def _before(metrics: Sequence[str], places: Sequence[int], place: int) -> int:
    return sum(metrics[other] == metrics[place] for other in places)
