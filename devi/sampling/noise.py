"""Noise: the random numbers of each replica, which depend on nothing but (seed, training step, chain)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Normal numbers per call and replica: enough to make the call's own cost small. Fixed, because it decides the stream.
NOISE_AT_ONCE = 4096


class Noise:
    """Standard normal numbers, (replica, width) at a time, made in bulk for several steps of one replica."""

    def __init__(self, seed: int, keys: Sequence[tuple[int, int]], width: int, like: Tensor) -> None:
        self.generators = [torch.Generator(like.device).manual_seed(stream(seed, *key)) for key in keys]
        self.steps = max(1, NOISE_AT_ONCE // width)
        self.buffer = torch.empty(len(keys), self.steps, width, dtype=like.dtype, device=like.device)
        self.used = self.steps

    def next(self) -> Tensor:
        if self.used == self.steps:
            for rows, generator in zip(self.buffer, self.generators, strict=True):
                rows.normal_(generator=generator)
            self.used = 0
        self.used += 1
        return self.buffer[:, self.used - 1]

    def __getstate__(self) -> dict[str, Any]:
        """Numbers that are left, and no generator's own pickle, which takes as long as a hundred steps."""
        states = np.stack([generator.get_state().numpy() for generator in self.generators])
        return {"states": states, "steps": self.steps, "used": self.used, "left": self.buffer[:, self.used :].numpy()}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        self.generators = [torch.Generator().set_state(torch.from_numpy(state)) for state in kept["states"]]
        self.steps, self.used, left = kept["steps"], kept["used"], torch.from_numpy(kept["left"])
        self.buffer = left.new_empty(len(left), self.steps, left.shape[2])
        self.buffer[:, self.used :] = left


def stream(seed: int, step: int, chain: int) -> int:
    """A seed of its own for each (seed, step, chain)."""
    words = [number % 2**64 for number in (seed, step, chain)]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))
