"""A model of your own in one file: a two-layer line fit. No test split, no accuracy, a squared loss.

devi train examples/line.py:Line --set width=8
devi analyze checkpoints/line-seed0 --task examples/line.py:Line --metric examples/stable_rank.py:StableRank
"""

from dataclasses import dataclass

import torch
from torch import nn

from devi import Batch, Task


@dataclass(frozen=True)
class Line(Task):
    """y = B A x with a hidden layer of `width`: the field's smallest network with saddles."""

    width: int = 4
    examples: int = 200
    learning_rate: float = 0.05
    optimizer: str = "SGD"
    steps: int = 500
    checkpoints: str = "log:60"
    seed: int = 0

    loss_units = "squared error"  # without it: nats, as a cross-entropy has

    def model(self):
        first, second = nn.Linear(3, self.width, bias=False), nn.Linear(self.width, 2, bias=False)
        nn.init.normal_(first.weight, std=0.01)
        nn.init.normal_(second.weight, std=0.01)
        return nn.Sequential(first, second)

    def data(self, split):
        if split == "test":
            return None
        generator = torch.Generator().manual_seed(self.seed)
        x = torch.randn(self.examples, 3, generator=generator)
        truth = torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        return Batch(x, x @ truth.T)

    def loss(self, outputs, targets):
        return 0.5 * (outputs - targets).square().sum(-1)
