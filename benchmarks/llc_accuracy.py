"""Accuracy of the automatic llc: devi's sgld, with every setting chosen by itself, against known coefficients.

    python benchmarks/llc_accuracy.py [--write]

Prints truth, estimate ± standard error, error, and flags of each case. Sources of the truths: d/2 for regular models;
Σ 1/p_i for monomials ½Σ w_i^{p_i}, min 1/p_i for their product; half the rank of the Hessian, 17/2 and 14/2, for the
hexagon and pentagon of superposition (Chen et al. 2023, arXiv:2310.06301); Aoyagi & Watanabe 2005 for two-layer linear
networks. Two cases, the product and condition 10,000, are out of reach of the settings: the flags must say so.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tables import put_table
from torch import Tensor, nn

from devi.metrics.learning_coefficient import LearningCoefficient
from devi.task import Batch, Split, Task
from devi.tasks.superposition import Superposition


class OneCheckpoint:
    """A run of one checkpoint in memory: what sampling reads of `devi.Run`."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        self.task, self.model, self.whole, self.start = task, model, self, 0
        self.steps = np.zeros(1, dtype=np.int64)

    def __len__(self) -> int:
        return 1

    def parameters(self, which: Any = slice(None)) -> dict[str, np.ndarray]:
        return {name: value.detach().numpy()[None] for name, value in self.model.named_parameters()}

    def buffers(self, which: Any = slice(None)) -> dict[str, np.ndarray]:
        return {name: value.numpy()[None] for name, value in self.model.named_buffers()}

    def model_at(self, index: int) -> nn.Module:
        with torch.random.fork_rng():
            model = self.task.model()
        model.load_state_dict(self.model.state_dict())
        return model.eval()

    def select(self, indices: Any) -> OneCheckpoint:
        return self


class Point(nn.Module):
    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(dimension))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.w.expand(len(inputs), -1)


@dataclass(frozen=True)
class Monomials(Task):
    """L(w) = ½ Σ w_i^{p_i}, at 0."""

    powers: tuple[int, ...] = (2,)
    examples: int = 1000

    def model(self) -> nn.Module:
        return Point(len(self.powers))

    def data(self, split: Split) -> Batch | None:
        return Batch(torch.zeros(self.examples, 1), torch.zeros(self.examples)) if split == "train" else None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * (outputs ** torch.tensor(self.powers)).sum(1)


@dataclass(frozen=True)
class Product(Monomials):
    """L(w) = ½ Π w_i^{p_i}, at 0: λ = min 1/p_i, which an affordable nβ is far from."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * (outputs ** torch.tensor(self.powers)).prod(1)


@dataclass(frozen=True)
class Linear(Task):
    """y = B·A·x + noise of unit variance, loss −log p; one matrix if `hidden` is 0. At the least-squares solution."""

    inputs: int = 5
    hidden: int = 0
    outputs: int = 1
    rank: int = 1
    condition: float = 1.0
    examples: int = 1000

    def model(self) -> nn.Module:
        if not self.hidden:
            return nn.Linear(self.inputs, self.outputs, bias=False)
        return nn.Sequential(
            nn.Linear(self.inputs, self.hidden, bias=False), nn.Linear(self.hidden, self.outputs, bias=False)
        )

    def data(self, split: Split) -> Batch | None:
        if split == "test":
            return None
        generator = torch.Generator().manual_seed(0)
        scales = torch.logspace(0, -0.5, self.inputs, base=self.condition)
        x = torch.randn(self.examples, self.inputs, generator=generator) * scales
        left = torch.randn(self.outputs, self.rank, generator=generator)
        right = torch.randn(self.rank, self.inputs, generator=generator) / math.sqrt(self.inputs)
        return Batch(x, x @ (left @ right).T + torch.randn(self.examples, self.outputs, generator=generator))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * (outputs - targets).square().sum(1)


def minimum(task: Task, start: Callable[[nn.Module], None] | None = None, rounds: int = 40) -> nn.Module:
    """The model after L-BFGS in float64."""
    torch.manual_seed(0)
    model = task.model().double()
    if start is not None:
        start(model)
    data = task.data("train")
    assert data is not None
    inputs, targets = data.inputs.double(), data.targets.double()
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=100, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = task.loss(model(inputs), targets).mean()
        loss.backward()
        return loss

    for _ in range(rounds):
        optimizer.step(closure)
    return model.float()


def polygon(corners: int) -> Callable[[nn.Module], None]:
    """W with `corners` features on a regular polygon, the others at 0, biases below 0 where a corner is too close."""

    def start(model: nn.Module) -> None:
        angles = 2 * math.pi * torch.arange(corners, dtype=torch.float64) / corners
        model.W.data.zero_()
        model.W.data[:, :corners] = (1.1 if corners == 5 else 1.3) * torch.stack([angles.cos(), angles.sin()])
        model.b.data.fill_(-0.3)
        if corners < 6:
            model.b.data[corners:] = -0.5

    return start


def cases() -> list[tuple[str, Task, nn.Module, float]]:
    superposition = Superposition(importance_decay=1.0, examples=1000)
    listed: list[tuple[str, Task, nn.Module, float]] = [
        (f"quadratic, d = {d}", task, task.model(), d / 2) for d in (1, 2, 5, 20, 100) for task in [Monomials((2,) * d)]
    ]
    listed += [("monomials 2, 2, 4", t, t.model(), 1.25) for t in [Monomials((2, 2, 4))]]
    listed += [("product w₁²w₂⁴", t, t.model(), 0.25) for t in [Product((2, 4))]]
    regressions = (5, 10.0, 100), (20, 100.0, 1000), (10, 1e4, 1000), (100, 10.0, 1000), (20, 1.0, 10000)
    for d, condition, n in regressions:
        task = Linear(d, condition=condition, examples=n)
        listed.append((f"regression d = {d}, cond. {condition:g}, n = {n}", task, minimum(task, rounds=5), d / 2))
    reduced = Linear(5, 3, 4, rank=3)
    listed.append(("deep linear 5-3-4, rank 3", reduced, minimum(reduced, rounds=10), (3 * (5 + 4) - 9) / 2))
    listed.append(("superposition hexagon", superposition, minimum(superposition, polygon(6)), 8.5))
    listed.append(("superposition pentagon", superposition, minimum(superposition, polygon(5)), 7.0))
    return listed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    options = parser.parse_args()
    header = ["case", "truth", "llc ± standard error", "error", "virial", "R-hat", "flags", "seconds"]
    print(*header, sep=" | ")
    rows = []
    for name, task, model, truth in cases():
        began = time.perf_counter()
        found = LearningCoefficient().over(OneCheckpoint(task, model))
        llc, error = found["llc"].item(), found["llc_se"].item()
        row = [
            name, f"{truth:g}", f"{llc:.3f} ± {error:.3f}", f"{100 * (llc / truth - 1):+.1f}%",
            f"{found['llc_virial'].item():.3f}", f"{found['llc_rhat'].item():.3f}", found["llc_flags"].item() or "-",
            f"{time.perf_counter() - began:.0f}",
        ]  # fmt: skip
        print(*row, sep=" | ", flush=True)
        rows.append(row)
    if options.write:
        put_table("llc accuracy", header, rows, "One seed, automatic settings, sgld.")


if __name__ == "__main__":
    main()
