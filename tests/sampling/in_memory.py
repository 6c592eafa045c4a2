"""A run held in memory, and the tasks with known answers that the tests sample around."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from devi.task import Batch, Task


class MemoryRun:
    """The members of `devi.Run` that sampling uses, over parameters {name: (step, *shape)}."""

    def __init__(self, task: Task, parameters: dict[str, np.ndarray], steps: Any = None, buffers: Any = None) -> None:
        self.task = task
        self._parameters = {name: np.asarray(value) for name, value in parameters.items()}
        self._buffers = {name: np.asarray(value) for name, value in (buffers or {}).items()}
        count = len(next(iter(self._parameters.values())))
        self.steps = np.arange(count, dtype=np.int64) if steps is None else np.asarray(steps, dtype=np.int64)
        self.whole, self.start = self, 0

    @classmethod
    def of(cls, task: Task, models: list[nn.Module], steps: Any = None) -> MemoryRun:
        """A run whose checkpoints are these models."""
        parameters = {
            name: np.stack([dict(model.named_parameters())[name].detach().numpy() for model in models])
            for name, _ in models[0].named_parameters()
        }
        buffers = {
            name: np.stack([dict(model.named_buffers())[name].numpy() for model in models])
            for name, _ in models[0].named_buffers()
        }
        return cls(task, parameters, steps, buffers)

    def __len__(self) -> int:
        return len(self.steps)

    def parameters(self, which: slice = slice(None)) -> dict[str, np.ndarray]:
        return {name: value[which] for name, value in self._parameters.items()}

    def buffers(self, which: slice = slice(None)) -> dict[str, np.ndarray]:
        return {name: value[which] for name, value in self._buffers.items()}

    def model_at(self, index: int) -> nn.Module:
        with torch.random.fork_rng():
            model = self.task.model()
        saved = {**self.parameters(), **self.buffers()}
        model.load_state_dict({name: torch.from_numpy(np.array(value[index])) for name, value in saved.items()})
        return model.eval()

    def select(self, indices: Any) -> MemoryRun:
        chosen = np.asarray(indices)
        return MemoryRun(
            self.task,
            {name: value[chosen] for name, value in self._parameters.items()},
            self.steps[chosen],
            {name: value[chosen] for name, value in self._buffers.items()},
        )

    def block(self, start: int, end: int) -> MemoryRun:
        part = self.select(np.arange(start, end))
        part.whole, part.start = self, start
        return part


class Point(nn.Module):
    """A model that is its parameters: outputs w for every example."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(dimension))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.w.expand(len(inputs), -1)


@dataclass(frozen=True)
class Monomials(Task):
    """L(w) = ½ Σ c_i w_i^{p_i} for every example: llc Σ 1/p_i at 0. Powers of 2: the quadratic, llc d/2."""

    powers: tuple[int, ...] = (2, 2)
    scales: tuple[float, ...] | None = None
    examples: int = 1000

    def model(self) -> nn.Module:
        return Point(len(self.powers))

    def data(self, split: Literal["train", "test"]) -> Batch | None:
        return Batch(torch.zeros(self.examples, 1), torch.zeros(self.examples)) if split == "train" else None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        scales = torch.tensor(self.scales or (1.0,) * len(self.powers)).to(outputs)
        return 0.5 * (scales * outputs ** torch.tensor(self.powers)).sum(1)

    def run(self, checkpoints: int = 1, steps: Any = None) -> MemoryRun:
        return MemoryRun(self, {"w": np.zeros((checkpoints, len(self.powers)), dtype=np.float32)}, steps)


@dataclass(frozen=True)
class Regression(Task):
    """Linear-Gaussian regression with noise of unit variance, −log p up to a constant; llc d/2 at the minimum."""

    dimension: int = 5
    condition: float = 1.0  # ratio of the largest to the smallest eigenvalue of the inputs' covariance
    examples: int = 1000
    seed: int = 0
    solution: tuple[float, ...] = field(default=(), compare=False)

    def model(self) -> nn.Module:
        return nn.Linear(self.dimension, 1, bias=False)

    def data(self, split: Literal["train", "test"]) -> Batch | None:
        if split == "test":
            return None
        generator = torch.Generator().manual_seed(self.seed)
        scales = torch.logspace(0, -0.5, self.dimension, base=self.condition) if self.dimension > 1 else torch.ones(1)
        inputs = torch.randn(self.examples, self.dimension, generator=generator) * scales
        return Batch(inputs, inputs.sum(1) + torch.randn(self.examples, generator=generator))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * (outputs[:, 0] - targets).square()

    def run(self, checkpoints: int = 1, steps: Any = None) -> MemoryRun:
        data = self.data("train")
        assert data is not None
        best = torch.linalg.lstsq(data.inputs.double(), data.targets.double()[:, None]).solution  # (d, 1)
        weights = best.T.numpy().astype(np.float32)[None].repeat(checkpoints, axis=0)
        return MemoryRun(self, {"weight": weights}, steps)
