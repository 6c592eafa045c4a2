"""Mixing: R-hat and effective draws of many traces at once, the numbers that arviz-stats gives for them one by one.

    R-hat  √((B/W + N − 1)/N) of the split chains, B between and W within: the larger one of their ranks as normal
           scores, and of the ranks of their distances from the median
    ESS    chains·draws/τ,  τ = −1 + 2 Σ_t ρ_t  over Geyer's initial monotone sequence, of the split chains

Source: Vehtari et al. 2021, arXiv:1903.08008, sections 3 and 4; details as in arviz-stats, which
goes through traces in Python: a third of the time of a whole superposition curve (benchmarks/profiles.md).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import fft, special, stats

BLOM = 3 / 8  # offset of ranks: Blom 1958
FLAT = 1e-15  # a trace that moves less has independent draws, by definition


def effective_draws(traces: np.ndarray) -> np.ndarray:
    """Effective draws, of all chains together, for the mean of traces (trace, chain, draw): (trace,)."""
    split = _split(traces)
    draws = split.shape[2]
    covariance = _autocovariance(split).mean(axis=1)  # (trace, lag)
    within = covariance[:, 0] * draws / (draws - 1.0)
    total = covariance[:, 0] + split.mean(axis=2).var(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = 1 - (within[:, None] - covariance) / total[:, None]
    flat = np.ptp(split, axis=(1, 2)) < FLAT
    size = split.shape[1] * draws
    return np.array([
        size if still else size / max(_time(list(row)), 1 / math.log10(size))
        for row, still in zip(correlation.tolist(), flat, strict=True)
    ])  # fmt: skip


def rank_rhat(traces: np.ndarray) -> np.ndarray:
    """R-hat of traces (trace, chain, draw), (trace,)."""
    split = _split(traces)
    distance = np.abs(split - np.median(split, axis=(1, 2), keepdims=True))
    bulk, tail = _rhat(_normal_scores(split)), _rhat(_normal_scores(distance))
    return np.where(tail > bulk, tail, bulk)


def _time(correlation: list[float]) -> float:
    """Autocorrelation time τ of one trace's correlations (lag,), by Geyer's initial positive and monotone sequence."""
    draws = len(correlation)
    kept = [1.0, correlation[1], *[0.0] * (draws - 2)]
    even, odd, t = 1.0, correlation[1], 1
    while t < draws - 3 and even + odd > 0:
        even, odd = correlation[t + 1], correlation[t + 2]
        if even + odd >= 0:
            kept[t + 1], kept[t + 2] = even, odd
        t += 2
    last = t - 2
    if even > 0:
        kept[last + 1] = even
    for t in range(1, last - 1, 2):
        if kept[t + 1] + kept[t + 2] > kept[t - 1] + kept[t]:
            kept[t + 1] = kept[t + 2] = (kept[t - 1] + kept[t]) / 2
    return -1 + 2 * sum(kept[: last + 1]) + sum(kept[last + 1 : last + 2])


def _split(traces: np.ndarray) -> np.ndarray:
    """Each chain as two, its first and its last half."""
    half = traces.shape[2] // 2
    return np.concatenate([traces[:, :, :half], traces[:, :, -half:]], axis=1)


def _autocovariance(traces: np.ndarray) -> np.ndarray:
    draws = traces.shape[2]
    length = fft.next_fast_len(2 * draws, real=True)
    spectrum = fft.rfft(traces - traces.mean(axis=2, keepdims=True), n=length, axis=2)
    return fft.irfft(spectrum * spectrum.conj(), n=length, axis=2)[:, :, :draws] / draws


def _normal_scores(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(len(values), -1)
    ranks = stats.rankdata(flat, axis=1)
    return special.ndtri((ranks - BLOM) / (flat.shape[1] - 2 * BLOM + 1)).reshape(values.shape)


def _rhat(values: np.ndarray) -> np.ndarray:
    draws = values.shape[2]
    between = draws * values.mean(axis=2).var(axis=1, ddof=1)
    within = values.var(axis=2, ddof=1).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # chains that stand still: infinite, or none
        return np.sqrt((between / within + draws - 1) / draws)
