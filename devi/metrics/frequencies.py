"""Fourier modes on the residues mod p: waves, spectra, and the key frequencies that hidden neurons vote for.

Frequencies are k = 1 … ⌊p/2⌋; the angular frequency is w_k = 2πk/p. For even p the last has a cosine only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

KEY_SHARE = 0.05  # of all neurons: with fewer behind it a frequency is not a key one
# Probability that neurons which vote at random make any; at 0.05 most untrained networks have some (by hand).
BY_CHANCE = 0.001
DEAD_SHARE = 1e-10  # of the largest variance: below it a neuron is constant up to rounding, and does not vote


def all_frequencies(p: int) -> np.ndarray:
    """1 … ⌊p/2⌋, (frequency,)."""
    return np.arange(1, p // 2 + 1)


def waves(p: int, frequencies: Sequence[int] | np.ndarray) -> np.ndarray:
    """cos w_k s and sin w_k s over the residues s, each of length 1, (p, wave); two a frequency, one if k = p/2."""
    return np.concatenate([np.zeros((p, 0)), *(_wave(p, int(k)) for k in frequencies)], axis=1)


@cache
def _wave(p: int, k: int) -> np.ndarray:
    angle = 2 * np.pi * k * np.arange(p) / p
    pair = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    table = pair[:, :1] if 2 * k == p else pair
    return table / np.linalg.norm(table, axis=0)


def spectrum(table: np.ndarray) -> np.ndarray:
    """√(cos² + sin²) at each frequency of table (..., p, column), columns together: (..., frequency)."""
    p = table.shape[-2]
    power = np.stack([np.square(waves(p, [k]).T @ table).sum((-2, -1)) for k in all_frequencies(p)], axis=-1)
    return np.sqrt(power)


def votes(activations: Tensor) -> np.ndarray:
    """Share of all neurons that votes for each frequency, (frequency,), of activations (p, p, neuron) over (a, b).

    A neuron votes for the k whose waves {1, cos w_k a, sin w_k a} × {1, cos w_k b, sin w_k b}, without the constant,
    explain most of its variance over all pairs. Constant (dead) neurons do not vote; without any vote all are 0.
    Source: Nanda et al. 2023, arXiv:2301.05217, section 4 (each neuron has one frequency).
    """
    p = activations.shape[0]
    k = torch.as_tensor(all_frequencies(p), device=activations.device)
    # Constants go first: they would leak into every mode by rounding.
    centred = activations - activations.mean((0, 1))
    power = torch.fft.fft2(centred, dim=(0, 1)).abs().square()  # (p, p, neuron)
    mirror = p - k
    alone = power[k, 0] + power[mirror, 0] + power[0, k] + power[0, mirror]
    both = power[k, k] + power[k, mirror] + power[mirror, k] + power[mirror, mirror]
    twice = (k == mirror)[:, None]  # k = p/2 is its own mirror: its modes were counted two and four times
    explained = torch.where(twice, alone / 2 + both / 4, alone + both)  # (frequency, neuron)
    variance = centred.square().sum((0, 1))
    lively = torch.isfinite(variance) & (
        variance > DEAD_SHARE * activations.square().sum((0, 1)).max().clamp(min=1e-30)
    )
    chosen = explained.argmax(0)[lively]
    counts = torch.bincount(chosen, minlength=len(k)).cpu().numpy()
    return counts / activations.shape[-1]


def key_frequencies(activations: Tensor) -> tuple[int, ...]:
    """The frequencies that at least 5% of the neurons vote for, and clearly more than by chance; activations as above.

    Of n votes at random over K frequencies each gets n/K: 5% and more where K is small, and in an untrained network. So
    its votes must exceed the quantile of Binomial(n, 1/K) at BY_CHANCE / K (Bonferroni). Then again with the votes and
    the frequencies that are left, until none joins: what a circuit leaves over is the chance of its weaker frequencies.
    Untrained networks with p from 7 to 113 have 0 to 0.6 in the mean, where 5% alone gives them 2 to 10 (their neurons
    share an embedding, so their votes go together a little); trained ones with p = 43 and 53 keep what 5% alone gives
    (all by hand).

    Source of the votes: Nanda et al. 2023, arXiv:2301.05217, section 4; of the test in steps: Holm 1979.
    """
    neurons = activations.shape[-1]
    counts = np.rint(votes(activations) * neurons)
    key = np.zeros(len(counts), dtype=bool)
    while not key.all():
        left = len(counts) - key.sum()
        chance = binom.isf(BY_CHANCE / left, counts[~key].sum(), 1 / left)
        joins = ~key & (counts >= KEY_SHARE * neurons) & (counts > chance)
        if not joins.any():
            break
        key |= joins
    return tuple(int(k) for k in all_frequencies(activations.shape[0])[key])
