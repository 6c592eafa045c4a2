"""Adding numbers digit by digit: a transformer learns each digit of the sum, and the carry, at a time of its own.

devi train examples/digit_addition.py:DigitAddition
devi analyze checkpoints/digit_addition-seed0 --task examples/digit_addition.py:DigitAddition
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from devi import Batch, Metric, Task

EQUALS = 10  # the token behind the two numbers


class Adder(nn.Module):
    """One causal layer; logits over the tokens from '=' on, (example, digit of the sum, token)."""

    def __init__(self, digits, embed, heads, width):
        super().__init__()
        length = 3 * digits + 1
        self.digits = digits
        self.token = nn.Embedding(EQUALS + 1, embed)
        self.position = nn.Embedding(length, embed)
        self.attention = nn.MultiheadAttention(embed, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(embed, width), nn.ReLU(), nn.Linear(width, embed))
        self.norms = nn.ModuleList(nn.LayerNorm(embed) for _ in range(3))
        self.unembed = nn.Linear(embed, EQUALS)
        self.register_buffer("future", torch.ones(length, length, dtype=torch.bool).triu(1), persistent=False)

    def forward(self, inputs):
        stream = self.token(inputs) + self.position.weight
        x = self.norms[0](stream)
        stream = stream + self.attention(x, x, x, attn_mask=self.future, need_weights=False)[0]
        stream = stream + self.mlp(self.norms[1](stream))
        return self.unembed(self.norms[2](stream[:, 2 * self.digits :]))


class DigitLoss(Metric):
    """Loss of each digit of the sum, the leading one (the carry) first, on the test examples."""

    name = "digit_loss"
    units = "nats"
    long_name = "loss of each digit of the sum"
    dims = ("digit",)

    def at(self, model, task):
        inputs, targets = task.data("test")
        return F.cross_entropy(model(inputs).movedim(-1, 1), targets, reduction="none").mean(0).numpy()


@dataclass(frozen=True)
class DigitAddition(Task):
    """Two numbers of `digits` digits, '=', and their sum, most significant digit first; fresh ones at every step."""

    digits: int = 4
    embed: int = 64
    heads: int = 4
    width: int = 256
    learning_rate: float = 2e-3
    optimizer: str = "AdamW"
    weight_decay: float = 0.01
    batch_size: int = 128
    steps: int = 1000
    checkpoints: str = "log:120"
    seed: int = 0

    def model(self):
        return Adder(self.digits, self.embed, self.heads, self.width)

    def batch(self, step, generator):
        return self._sums(self.batch_size, generator)

    def data(self, split):
        return self._sums(256, torch.Generator().manual_seed(2 * self.seed + (split == "test")))

    def _sums(self, count, generator):
        terms = torch.randint(10, (count, 2, self.digits), generator=generator)
        values = 10 ** torch.arange(self.digits, -1, -1)
        total = (terms * values[1:]).sum((1, 2))
        answer = total[:, None] // values % 10  # (example, digit)
        equals = torch.full((count, 1), EQUALS)
        # Each digit is predicted from those before it.
        return Batch(torch.cat([terms.flatten(1), equals, answer[:, :-1]], dim=1), answer)

    def loss(self, outputs, targets):
        return F.cross_entropy(outputs.movedim(-1, 1), targets, reduction="none").mean(-1)

    def accuracy(self, outputs, targets):
        return (outputs.argmax(-1) == targets).all(-1).float()

    def metrics(self):
        return ("losses", "norms", DigitLoss(), "llc")
