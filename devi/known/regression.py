"""Linear-Gaussian regression: a regular model, λ = d/2, whose expectation at any finite nβ is known exactly.

y = x·w + noise of unit variance,  L_n(w) = mean of ½(y − x·w)²,  a quadratic with Hessian XᵀX/n
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from devi.known.memory_run import MemoryRun
from devi.task import Batch, Split, Task


@dataclass(frozen=True)
class Regression(Task):
    """−log p up to a constant; `condition` is the ratio of the largest to the smallest variance of the inputs."""

    dimension: int = 5
    condition: float = 1.0
    examples: int = 1000
    seed: int = 0

    def model(self) -> nn.Module:
        return nn.Linear(self.dimension, 1, bias=False)

    def data(self, split: Split) -> Batch | None:
        if split == "test":
            return None
        generator = torch.Generator().manual_seed(self.seed)
        scales = torch.logspace(0, -0.5, self.dimension, base=self.condition) if self.dimension > 1 else torch.ones(1)
        inputs = torch.randn(self.examples, self.dimension, generator=generator) * scales
        return Batch(inputs, inputs.sum(1) + torch.randn(self.examples, generator=generator))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * (outputs[:, 0] - targets).square()

    def solution(self) -> nn.Module:
        """The model at the least-squares solution, in float64."""
        inputs, targets = self._exact()
        model = self.model().double()
        model.load_state_dict({"weight": torch.linalg.lstsq(inputs, targets[:, None]).solution.T})  # (1, d)
        return model

    def run(self, checkpoints: int = 1, steps: Any = None) -> MemoryRun:
        """A run of `checkpoints` times the least-squares solution."""
        return MemoryRun.of(self, [self.solution()] * checkpoints, steps)

    def exact_at(self, n_beta: float, localization: float) -> float:
        """nβ·E[L_n(w) − L_n(w*)] = ½ Σ_i nβ·h_i/(nβ·h_i + γ), h_i the eigenvalues of the Hessian."""
        inputs, _ = self._exact()
        curvature = n_beta * np.linalg.eigvalsh((inputs.T @ inputs / self.examples).numpy())
        return float((curvature / (curvature + localization)).sum() / 2)

    def _exact(self) -> Batch:
        data = self.data("train")
        assert data is not None
        return Batch(data.inputs.double(), data.targets.double())
