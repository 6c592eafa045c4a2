"""Fits the logistic model of a transition's confidence and writes devi/transitions/confidence.json.

    python benchmarks/fit_confidence.py [--runs 50] [--dry]

Events are collected, before any cut on confidence, on the generated cases of transition_cases.py with seeds 0 …
runs-1; an event is true if its midpoint matches a planted change. The coefficients minimize the log loss plus a small
ridge, with every evidence standardized and the signs that are known held. Printed: the calibration on seeds 1000 …
that were not fitted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from transition_cases import KINDS, NULLS, Case, case, matched

from devi.transitions.confidence import evidence_of
from devi.transitions.curves import curves_of
from devi.transitions.detector import changes_of
from devi.transitions.events import events_of
from devi.transitions.fusion import LEAST_EVIDENCE, bundles_of

RIDGE = 1e-3
# Monotone where we know the direction, so that few generated events cannot teach that a smaller or slower change is
# the surer one; the rest is free.
NEVER_NEGATIVE = ("log_best_evidence", "log_total_evidence", "log_share", "curves")
NEVER_POSITIVE = ("width", "few_beside", "beside_spike", "kink", "transient", "autocorrelation")
HELD_OUT = 1000  # first seed of the cases for the calibration
TARGET = Path(__file__).parents[1] / "devi" / "transitions" / "confidence.json"


def collect(cases: Iterable[Case]) -> tuple[list[str], np.ndarray, np.ndarray, list[str]]:
    """Names of the evidence, its values (event, evidence), whether the event is true (event,), kinds of case."""
    rows, true, kinds, names = [], [], [], []
    for one in cases:
        curves = curves_of(one.trajectories)[0]
        changes = [
            change for bundle in bundles_of(curves) for change in changes_of(bundle, least_evidence=LEAST_EVIDENCE)
        ]
        events = events_of(changes)
        pairs = matched([10**event.centre for event in events], one.planted)
        for i, event in enumerate(events):
            evidence = evidence_of(event)
            names = list(evidence)
            rows.append(list(evidence.values()))
            true.append(i in pairs)
            kinds.append(one.kind)
    return names, np.array(rows), np.array(true, dtype=float), kinds


def logistic(names: list[str], rows: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Intercept and coefficients, (1 + evidence,), for the evidence as it stands."""
    mean, scale = rows.mean(0), np.maximum(rows.std(0), 1e-9)
    design = np.column_stack([np.ones(len(rows)), (rows - mean) / scale])

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        score = design @ w
        value = np.mean(np.logaddexp(0, score) - true * score) + RIDGE * w[1:] @ w[1:]
        slope = design.T @ (1 / (1 + np.exp(-score)) - true) / len(true)
        slope[1:] += 2 * RIDGE * w[1:]
        return float(value), slope

    low = [0.0 if name in NEVER_NEGATIVE else None for name in names]
    high = [0.0 if name in NEVER_POSITIVE else None for name in names]
    bounds = [(None, None), *zip(low, high, strict=True)]
    w = minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x
    slopes = w[1:] / scale
    return np.concatenate([[w[0] - slopes @ mean], slopes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="cases of each kind")
    parser.add_argument("--dry", action="store_true", help="print only, write nothing")
    settings = parser.parse_args()
    every = KINDS + NULLS
    names, rows, true, _ = collect(case(kind, seed) for kind in every for seed in range(settings.runs))
    w = logistic(names, rows, true)
    coefficients = {name: round(float(value), 4) for name, value in zip(["intercept", *names], w, strict=True)}
    print(f"{len(true)} events, {true.mean():.2f} of them true")
    for name, value in coefficients.items():
        print(f"  {name:20s} {value:+.3f}")
    held = (case(kind, HELD_OUT + seed) for kind in every for seed in range(settings.runs // 2))
    _, rows, true, kinds = collect(held)
    confidence = 1 / (1 + np.exp(-(w[0] + rows @ w[1:])))
    place = np.minimum((confidence * 5).astype(int), 4)
    error = 0.0
    for k in range(5):
        inside = place == k
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - true[inside].mean())
            print(f"  confidence {confidence[inside].mean():.2f}: {true[inside].mean():.2f} true of {inside.sum()}")
    print(f"  expected calibration error, held out: {error:.3f}")
    null = np.array([kind in NULLS for kind in kinds])
    runs = len(NULLS) * (settings.runs // 2)
    for threshold in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        kept = confidence >= threshold
        print(
            f"  at {threshold}: {(kept & (true > 0)).sum()} found, {(kept & null).sum() / runs:.2f} alarms a null run"
        )
    if not settings.dry:
        made = {"script": "benchmarks/fit_confidence.py", "runs": settings.runs, "coefficients": coefficients}
        TARGET.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
