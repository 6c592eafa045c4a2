"""Losses that are functions of the parameters alone: sums of monomials, normal crossings, the cusp.

    sum of monomials   L(w) = ½ Σ c_i w_i^{p_i}    λ = Σ 1/p_i                                   at w = 0, p_i even
    normal crossing    L(w) = ½ Π w_i^{p_i}        λ = min 1/p_i, multiplicity = number of ties   at w = 0, p_i even
    cusp               L(w) = ½ (x² − y³)²         λ = 5/12                                       at w = 0

Every example has the same loss, so that their number only says which nβ is the default. The expectation that an ideal
sampler would find at a finite nβ is known too: `exact_at`, see `devi.known.density_of_states` and `devi.known.cusp`.
Source: Watanabe 2009, Algebraic Geometry and Statistical Learning Theory, sections 2.3 and 6.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from devi.known.cusp import cusp_expectation
from devi.known.density_of_states import monomial_expectation, product_expectation
from devi.known.memory_run import MemoryRun
from devi.task import Batch, Split, Task


class Surface(nn.Module):
    """A model whose only output is its own loss L(w); computed once and shown to every example."""

    def __init__(self, dimension: int, value: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(dimension))
        self.value = value

    def forward(self, inputs: Tensor) -> Tensor:
        return self.value(self.w).expand(len(inputs))


@dataclass(frozen=True)
class SurfaceTask(Task):
    """A loss L(w) that is the same for all `examples`."""

    @property
    @abstractmethod
    def dimension(self) -> int: ...

    @abstractmethod
    def value(self, w: Tensor) -> Tensor:
        """L(w), a number, for w (parameter,)."""

    def model(self) -> nn.Module:
        """At w = 0."""
        return Surface(self.dimension, self.value)

    def data(self, split: Split) -> Batch | None:
        count: int = self.examples  # type: ignore[attr-defined]  # a field of every subclass, after its own
        return Batch(torch.zeros(count, 1), torch.zeros(count)) if split == "train" else None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs - targets  # the targets are 0

    def run(self, checkpoints: int = 1, steps: Any = None) -> MemoryRun:
        """A run of `checkpoints` times the point w = 0."""
        return MemoryRun(self, {"w": np.zeros((checkpoints, self.dimension), dtype=np.float32)}, steps)


@dataclass(frozen=True)
class Monomials(SurfaceTask):
    """L(w) = ½ Σ c_i w_i^{p_i}, p_i even. Powers of 2: a regular model of d parameters, λ = d/2."""

    powers: tuple[int, ...] = (2, 2)
    scales: tuple[float, ...] | None = None  # c_i; None: all 1
    examples: int = 1000

    @property
    def dimension(self) -> int:
        return len(self.powers)

    def value(self, w: Tensor) -> Tensor:
        scales = torch.tensor(self.scales or (1.0,) * len(self.powers)).to(w)
        return 0.5 * (scales * w ** torch.tensor(self.powers)).sum()

    def exact_at(self, n_beta: float, localization: float) -> float:
        """nβ·E[L(w)] under exp(−nβ·L(w) − (γ/2)·‖w‖²): a sum of one-dimensional integrals."""
        scales = self.scales or (1.0,) * len(self.powers)
        strengths = [n_beta * scale / 2 for scale in scales]
        return sum(monomial_expectation(p, k, localization) for p, k in zip(self.powers, strengths, strict=True))


@dataclass(frozen=True)
class Product(SurfaceTask):
    """L(w) = ½ Π w_i^{p_i}, p_i even: parameters of power p_i in normal crossing."""

    powers: tuple[int, ...] = (2, 4)
    examples: int = 1000

    @property
    def dimension(self) -> int:
        return len(self.powers)

    def value(self, w: Tensor) -> Tensor:
        return 0.5 * (w ** torch.tensor(self.powers)).prod()

    def exact_at(self, n_beta: float, localization: float) -> float:
        """nβ·E[L(w)] under exp(−nβ·L(w) − (γ/2)·‖w‖²), γ > 0."""
        return product_expectation(self.powers, n_beta / 2, localization)


@dataclass(frozen=True)
class Cusp(SurfaceTask):
    """L(w) = ½ (x² − y³)²."""

    examples: int = 1000

    @property
    def dimension(self) -> int:
        return 2

    def value(self, w: Tensor) -> Tensor:
        return 0.5 * (w[0].square() - w[1] ** 3).square()

    def exact_at(self, n_beta: float, localization: float) -> float:
        """nβ·E[L(w)] under exp(−nβ·L(w) − (γ/2)·‖w‖²), γ > 0."""
        return cusp_expectation(n_beta, localization)
