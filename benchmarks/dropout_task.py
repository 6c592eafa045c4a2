"""A user's own model with all that is random in training: dropout, batch norm, minibatches, noise from numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from devi import Batch, Task


class Noisy(nn.Module):
    """Adds noise from numpy's global generator, which a resumed run must restore too."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * float(np.random.standard_normal()) if self.training else x  # noqa: NPY002


@dataclass(frozen=True)
class Dropout(Task):
    """Regression on 256 points."""

    width: int = 32
    batch_size: int = 32
    learning_rate: float = 0.003
    scheduler: str = "CosineAnnealingLR"
    steps: int = 6000
    checkpoints: str = "every:10"
    seed: int = 0

    def model(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(4, self.width), nn.BatchNorm1d(self.width), nn.ReLU(), nn.Dropout(0.3), Noisy(),
            nn.Linear(self.width, 1),
        )  # fmt: skip

    def data(self, split: str) -> Batch | None:
        inputs = torch.randn(256, 4, generator=torch.Generator().manual_seed(self.seed))
        return Batch(inputs, inputs.prod(1, keepdim=True)) if split == "train" else None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().sum(1)
