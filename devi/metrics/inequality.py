"""How unevenly a nonnegative quantity is spread: Gini coefficient and entropy."""

from __future__ import annotations

import numpy as np


def gini(values: np.ndarray) -> np.ndarray:
    """Gini coefficient along the last axis: 0 when all are equal, 1 − 1/n when one of n has it all; NaN for all zeros.

        G = Σ_i Σ_j |x_i − x_j| / (2 n Σ_i x_i) = 2 Σ_i i·x_(i) / (n Σ_i x_i) − (n + 1)/n,  x_(1) ≤ … ≤ x_(n)

    values (..., item), nonnegative; returns (...).  Source: Hurley & Rickard 2009, arXiv:0811.4706.
    """
    ordered = np.sort(np.asarray(values, dtype=float), axis=-1)
    count = ordered.shape[-1]
    total = _positive(ordered.sum(-1))
    return 2 * (ordered * np.arange(1, count + 1)).sum(-1) / (count * total) - (count + 1) / count


def entropy(values: np.ndarray) -> np.ndarray:
    """Shannon entropy in nats of values / Σ values along the last axis: log n when equal, 0 when one has it all.

    values (..., item), nonnegative; returns (...), NaN for all zeros.
    """
    values = np.asarray(values, dtype=float)
    share = values / _positive(values.sum(-1))[..., None]
    logs = np.log(np.where(share > 0, share, 1.0))
    return -(share * logs).sum(-1)


def _positive(total: np.ndarray) -> np.ndarray:
    return np.where(total > 0, total, np.nan)
