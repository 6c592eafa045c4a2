"""Scratch: memory for intermediate results, taken once and used again at every gradient.

A fresh tensor of a megabyte costs its page faults and pushes what is needed out of the cache; one that is written over
and over stays there.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Scratch:
    """Tensors by name; one asked for in another shape, dtype or device is made anew. For one thread."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def __call__(self, name: str, *shape: int, like: Tensor) -> Tensor:
        """Uninitialized memory of that shape, the same at every call."""
        kept = self._kept.get(name)
        if kept is None or kept.shape != shape or kept.dtype != like.dtype or kept.device != like.device:
            kept = self._kept[name] = torch.empty(shape, dtype=like.dtype, device=like.device)
        return kept
