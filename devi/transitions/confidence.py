"""Confidence of an event: a logistic model over its evidence, with coefficients fitted by benchmarks/fit_confidence.py.

confidence = 1 / (1 + exp(-(intercept + sum_i coefficient_i * evidence_i)))
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np

from devi.transitions.detector import FEWEST_BESIDE
from devi.transitions.events import Event


def evidence_of(event: Event) -> dict[str, float]:
    """What the confidence is computed from, each of order 1."""
    changes = event.changes
    lead = event.lead
    best = max(change.log_bayes_factor for change in changes)
    total = sum(change.own_share * change.log_bayes_factor for change in changes)
    return {
        "log_best_evidence": float(np.log1p(max(best, 0.0))),
        "log_total_evidence": float(np.log1p(max(total, 0.0))),
        "log_share": float(np.log10(min(max(change.share for change in changes), 1.5))),
        "curves": float(np.log2(sum(change.own_share for change in changes))),
        "width": lead.width,
        "autocorrelation": lead.autocorrelation,
        "few_beside": float(lead.beside < FEWEST_BESIDE),
        "beside_spike": float(bool(event.spikes)),
        "kink": float(lead.shape == "kink"),
        "transient": float(event.fall is not None),
    }


@cache
def _model() -> dict[str, float]:
    text = files("devi.transitions").joinpath("confidence.json").read_text(encoding="utf-8")
    return {name: float(value) for name, value in json.loads(text)["coefficients"].items()}


def confidence_of(event: Event) -> float:
    """In [0, 1]; the share of events with such evidence that were planted, in the generators it was fitted on."""
    model = _model()
    score = model["intercept"] + sum(model.get(name, 0.0) * value for name, value in evidence_of(event).items())
    return float(1.0 / (1.0 + np.exp(-np.clip(score, -50.0, 50.0))))
