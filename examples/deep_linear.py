"""Deep linear networks and matrix completion: modes that are learned one by one, the largest first.

devi train examples/deep_linear.py:DeepLinear
devi analyze checkpoints/deep_linear-seed0 --task examples/deep_linear.py:DeepLinear
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from devi import Batch, Metric, Task


class Product(nn.Module):
    """Entries of W_L … W_1, square matrices: inputs (example, 2) are row and column, outputs (example,)."""

    def __init__(self, size, factors, scale):
        super().__init__()
        self.factors = nn.ParameterList(scale * torch.randn(size, size) for _ in range(factors))

    def matrix(self):
        return torch.linalg.multi_dot(list(self.factors)) if len(self.factors) > 1 else self.factors[0]

    def forward(self, inputs):
        return self.matrix()[inputs[:, 0], inputs[:, 1]]


class ModeStrength(Metric):
    """u_kᵀ W v_k for each mode k of the target U S Vᵀ, largest first: from 0 to its singular value."""

    name = "mode_strength"
    long_name = "strength of each of the target's modes in the network"
    source = "Saxe et al. 2014, arXiv:1312.6120"
    dims = ("mode",)
    material = 0.1  # what changes by less is rounding, or another mode's wake

    def at(self, model, task):
        left, _, right = torch.linalg.svd(task.target())
        rank = len(task.singular_values)
        return torch.einsum("ik,ij,kj->k", left[:, :rank], model.matrix(), right[:rank]).numpy()


@dataclass(frozen=True)
class DeepLinear(Task):
    """A product of matrices fits another matrix, all of its entries or the part of them that is `seen`.

    Saxe et al. 2014, arXiv:1312.6120: of two factors a mode of value s grows by exp(2 η s) a step, where η is the
    learning rate of the summed loss, so that it is learned at a time in inverse proportion to s.
    """

    size: int = 20
    factors: int = 2
    singular_values: tuple[float, ...] = (10.0, 5.0, 2.5, 1.2, 0.6)
    seen: float = 1.0  # share of the entries; below 1 it is matrix completion, and there is a test split
    init_scale: float = 1e-3
    optimizer: str = "SGD"
    learning_rate: float = 4.0  # of the mean over 400 entries: 0.01 of their sum
    steps: int = 4000
    checkpoints: str = "log:400"
    seed: int = 0

    loss_units = "squared error"
    presets: ClassVar = {
        "three": {"factors": 3, "init_scale": 3e-2, "learning_rate": 1.2, "steps": 16000},
        "completion": {"singular_values": (10.0, 6.0, 3.0), "seen": 0.6, "learning_rate": 1.2, "steps": 8000},
    }

    def target(self):
        generator = torch.Generator().manual_seed(self.seed)
        left, right = (torch.linalg.qr(torch.randn(self.size, self.size, generator=generator))[0] for _ in range(2))
        rank = len(self.singular_values)
        return left[:, :rank] @ torch.diag(torch.tensor(self.singular_values)) @ right[:, :rank].T

    def model(self):
        return Product(self.size, self.factors, self.init_scale)

    def data(self, split):
        generator = torch.Generator().manual_seed(self.seed + 1)
        order = torch.randperm(self.size**2, generator=generator)
        count = round(self.seen * self.size**2)
        chosen = order[:count] if split == "train" else order[count:]
        if not len(chosen):
            return None
        places = torch.stack([chosen // self.size, chosen % self.size], dim=1)
        return Batch(places, self.target()[places[:, 0], places[:, 1]])

    def loss(self, outputs, targets):
        return 0.5 * (outputs - targets).square()

    def metrics(self):
        return ("losses", "norms", ModeStrength(), "llc")
