"""Toy model of superposition: n features squeezed through m hidden dimensions and read back.

    x' = f(WᵀW x + b),  f = ReLU or identity;   loss(x) = Σ_i I_i (x_i − x'_i)²

Source: Elhage et al. 2022, transformer-circuits.pub/2022/toy_model; dynamics: Chen et al. 2023, arXiv:2310.06301.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from devi.errors import DeviError
from devi.task import Batch, Finite, NotNegative, Positive, Replicas, Split, Task
from devi.tasks.superposition_replicas import SuperpositionReplicas

# Runs on fresh data are measured on a fixed set of this size: fresh batches make a curve that fools a detector.
EVALUATION_EXAMPLES = 1000


@dataclass(frozen=True)
class Superposition(Task):
    """n features through m dimensions and back, with ReLU or linear output.

    Defaults: with importance falling by half from feature to feature, features enter one by one (10 of 10 seeds).
    """

    features: Annotated[int, Field(ge=1)] = 6
    hidden: Annotated[int, Field(ge=1)] = 2
    distribution: Literal["one_hot", "sparse"] = field(default="one_hot", metadata={"setting": "data"})
    density: Annotated[float, Field(gt=0, le=1)] = 0.1  # of sparse data: the chance that a feature is present
    importance_decay: Positive = 0.5  # I_i = importance_decay^i, unless `importance` lists them
    importance: tuple[NotNegative, ...] | None = None
    output: Literal["relu", "linear"] = "relu"
    init_scale: NotNegative = 1e-3
    bias_init: Finite = 0.05  # slightly positive: a feature whose bias is at or below 0 never comes to life
    start_polygon: Annotated[int, Field(ge=0)] = 0  # k > 0: the first k features start as a regular k-gon
    examples: Annotated[int, Field(ge=0)] = 0  # size of the fixed training set; 0: fresh examples at every step
    optimizer: str = "SGD"
    learning_rate: Positive = 0.3
    batch_size: Annotated[int, Field(ge=0)] = 128
    steps: Annotated[int, Field(ge=1)] = 4000
    checkpoints: str = "log:250"
    seed: int = 0

    loss_units: ClassVar[str] = "squared error"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tight": {"features": 5, "init_scale": 1e-4, "steps": 2000},
        "polygon": {
            "importance_decay": 1.0,
            "start_polygon": 2,
            "examples": 1000,
            "batch_size": 20,
            "learning_rate": 0.1,
            "bias_init": 0.1,
            "init_scale": 0.01,
            "steps": 6000,
            "checkpoints": "log:300",
        },
    }

    def __post_init__(self) -> None:
        if self.importance is not None and len(self.importance) != self.features:
            raise DeviError(
                f"superposition: importance lists {len(self.importance)} values for features={self.features};"
                f" give one per feature, e.g. --set importance=1,0.5,0.25 --set features=3"
            )
        if self.start_polygon and (self.hidden != 2 or self.start_polygon > self.features):
            raise DeviError(
                f"superposition: start_polygon={self.start_polygon} needs hidden=2 and at least as many features;"
                f" got hidden={self.hidden}, features={self.features}"
            )

    def model(self) -> nn.Module:
        return Autoencoder(self)

    def importances(self) -> Tensor:
        """I, (feature,)."""
        if self.importance is not None:
            return torch.tensor(self.importance, dtype=torch.get_default_dtype())
        return torch.tensor(float(self.importance_decay)) ** torch.arange(self.features)

    def data(self, split: Split) -> Batch:
        # Streams apart by split, so that a longer training set never reaches into the test set.
        generator = torch.Generator().manual_seed(2 * self.seed + (split == "test"))
        return self._draw(self.examples or EVALUATION_EXAMPLES, generator)

    def batch(self, step: int, generator: torch.Generator) -> Batch | None:
        if self.examples:
            return None
        return self._draw(self.batch_size or EVALUATION_EXAMPLES, generator)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return ((targets - outputs).square() * self.importances().to(outputs)).sum(-1)

    def replicas(self) -> Replicas | None:
        is_own = type(self).model is Superposition.model and type(self).loss is Superposition.loss
        return SuperpositionReplicas(self.importances(), relu=self.output == "relu") if is_own else None

    def metrics(self) -> Sequence[str]:
        return ("losses", "norms", "feature_dimensionality", "tickets", "llc")

    def _draw(self, count: int, generator: torch.Generator) -> Batch:
        """Examples x, (example, feature): λ·e_i with λ ~ U(0, 1), or each x_i ~ U(0, 1) with probability `density`."""
        if self.distribution == "one_hot":
            size = torch.rand(count, 1, generator=generator)
            which = torch.randint(self.features, (count,), generator=generator)
            x = size * torch.eye(self.features)[which]
        else:
            present = torch.rand(count, self.features, generator=generator) < self.density
            x = torch.rand(count, self.features, generator=generator) * present
        return Batch(x, x)


class Autoencoder(nn.Module):
    """x' = f(WᵀW x + b).  W (hidden, feature), b (feature,)."""

    def __init__(self, task: Superposition) -> None:
        super().__init__()
        weight = task.init_scale * torch.randn(task.hidden, task.features)
        for corner in range(task.start_polygon):
            angle = 2 * math.pi * corner / task.start_polygon
            weight[:, corner] += torch.tensor([math.cos(angle), math.sin(angle)])
        self.W = nn.Parameter(weight)
        self.b = nn.Parameter(torch.full((task.features,), float(task.bias_init)))
        self.relu = task.output == "relu"

    def forward(self, x: Tensor) -> Tensor:
        hidden = x @ self.W.T  # (example, hidden)
        outputs = hidden @ self.W + self.b  # (example, feature)
        return torch.relu(outputs) if self.relu else outputs
