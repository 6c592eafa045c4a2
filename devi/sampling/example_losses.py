"""Example losses: the loss of every example along the chains, at evenly spaced draws and in bounded memory.

    kept ≤ 4 bytes · replicas · most · examples          float32; a pass over the examples for each draw that is kept

From them a Bayesian influence (the covariance of two examples' losses) or a susceptibility is computed without
sampling again: see `devi.sampling.interchange`. Neither needs neighbouring draws, which say the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from devi.errors import DeviError
from devi.sampling.posterior import Posterior
from devi.task import Batch

MOST_BYTES = 2**29  # of all that one block of checkpoints keeps
MANTISSA_BITS = 12  # kept of 23 in a file: 0.01% of a loss, where hundreds of draws give a covariance to some percent


class ExampleLosses:
    """Losses of every example of `data` at no more than `most` draws, evenly spaced, of one chunk of replicas.

    How many draws there will be need not be known: when more than `most` are kept, every other one is dropped and the
    spacing doubles. So at least most/2 are left of a long chain, and all of a short one.
    """

    def __init__(self, data: Batch, most: int, at_once: int) -> None:
        """at_once: examples in one pass; the memory for as many as in a gradient is there."""
        self.data, self.most, self.at_once = data, most, at_once
        self.forget()

    def __getstate__(self) -> dict[str, Any]:
        """Without the data, which all parts share: see `Watch.take_up`."""
        return {**self.__dict__, "data": None}

    def forget(self) -> None:
        self.spacing = 1
        self.draws: list[int] = []
        self.losses: list[np.ndarray] = []  # (replica, example) float32

    def visit(self, draw: int, posterior: Posterior, position: Tensor, fixed: dict[str, Tensor]) -> None:
        """Keep the losses at `position` (replica, parameter), the draw's, if it is one of those to keep."""
        if draw % self.spacing:
            return
        pieces = zip(self.data.inputs.split(self.at_once), self.data.targets.split(self.at_once), strict=True)
        with torch.no_grad():
            parts = [posterior.losses(position, fixed, Batch(*piece)) for piece in pieces]
        self.draws.append(draw)
        self.losses.append(torch.cat(parts, dim=1).to("cpu", torch.float32).numpy())
        if len(self.draws) > self.most:
            self.draws, self.losses = self.draws[::2], self.losses[::2]
            self.spacing *= 2

    def stacked(self) -> np.ndarray:
        """(replica, kept draw, example) float32, at `draws`."""
        return np.stack(self.losses, axis=1)


def check_size(*, checkpoints: int, chains: int, most: int, examples: int) -> None:
    """Raises DeviError if so many losses do not fit, or are fewer than none."""
    if most < 0:
        raise DeviError(
            f"keep_losses = {most} is out of range: it must be at least 0, the draws of each chain to keep."
        )
    needed = 4 * checkpoints * chains * most * examples
    if needed > MOST_BYTES:
        fits = MOST_BYTES // (4 * checkpoints * chains * examples)
        advice = f"--keep-losses {fits}" if fits >= 2 else f"of fewer checkpoints, or --chains {max(1, chains // 2)}"
        raise DeviError(
            f"the losses of {examples} examples at {most} draws of {chains} chains at {checkpoints} checkpoints take"
            f" {needed / 2**20:.0f} MiB; at most {MOST_BYTES / 2**20:.0f} MiB were expected. Keep fewer: {advice}"
        )


def rounded(values: np.ndarray, bits: int = MANTISSA_BITS) -> np.ndarray:
    """float32 with `bits` of the mantissa, the rest 0, to nearest: a file takes 55% of the bytes, not 83%.

    Source: Klöwer et al. 2021, "Compressing atmospheric data into its real information content", section 2.
    """
    drop = 23 - bits
    words = np.asarray(values, dtype=np.float32).view(np.uint32)
    half = np.uint32((1 << (drop - 1)) - 1) + ((words >> np.uint32(drop)) & np.uint32(1))
    mask = np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    return np.where(np.isfinite(values), ((words + half) & mask).view(np.float32), values)


def encoding(shape: tuple[int, int, int, int]) -> dict[str, Any]:
    """How xarray should write losses (step, chain, kept_draw, example): one checkpoint a chunk, compressed."""
    return {"zlib": True, "complevel": 1, "shuffle": True, "chunksizes": (1, *shape[1:])}
