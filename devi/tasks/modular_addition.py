"""Modular arithmetic on all pairs (a, b) of residues mod p: the task on which networks grok.

Source: Power et al. 2022, arXiv:2201.02177; transformer and its analysis: Nanda et al. 2023, arXiv:2301.05217.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from devi.errors import DeviError
from devi.task import Batch, NotNegative, Positive, Replicas, Split, Task
from devi.tasks.modular_replicas import MLPReplicas
from devi.tasks.modular_transformer import Transformer
from devi.tasks.transformer_replicas import FEWEST_EXAMPLES, TransformerReplicas

Operation = Literal["add", "subtract", "x²+xy+y²", "x2+xy+y2"]


@dataclass(frozen=True)
class ModularAddition(Task):
    """a + b, a − b or x²+xy+y² mod p from a part of all pairs, by an MLP or a transformer.

    Defaults: the MLP p=53, which memorizes by step 50 and generalizes between 1,300 and 2,800 (5 of 5 seeds).
    """

    p: Annotated[int, Field(ge=2)] = 53
    operation: Operation = "add"
    architecture: Literal["mlp", "transformer"] = "mlp"
    train_fraction: Annotated[float, Field(gt=0, le=1)] = 0.4
    embed: Annotated[int, Field(ge=1)] = 32
    width: Annotated[int, Field(ge=1)] = 128  # of the hidden layer
    heads: Annotated[int, Field(ge=1)] = 4
    layers: Annotated[int, Field(ge=1)] = 1
    layer_norm: bool = False
    shuffle_labels: bool = False  # the twin that cannot generalize
    optimizer: str = "AdamW"
    learning_rate: Positive = 1e-2
    weight_decay: NotNegative = 0.5
    betas: tuple[float, float] = (0.9, 0.98)
    batch_size: Annotated[int, Field(ge=0)] = 0
    steps: Annotated[int, Field(ge=1)] = 4000
    checkpoints: str = "log:120"
    seed: int = 0

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "p43": {
            "architecture": "transformer",
            "p": 43,
            "embed": 64,
            "learning_rate": 5e-3,
            "weight_decay": 1.0,
            "train_fraction": 0.5,
            "steps": 2000,
        },
        "p113": {
            "architecture": "transformer",
            "p": 113,
            "embed": 128,
            "width": 512,
            "learning_rate": 1e-3,
            "weight_decay": 1.0,
            "train_fraction": 0.3,
            "steps": 12000,
            "checkpoints": "every:100",
        },
    }

    def __post_init__(self) -> None:
        if self.architecture == "transformer" and self.embed % self.heads:
            raise DeviError(f"modular_addition: embed={self.embed} must be a multiple of heads={self.heads}")
        if self.architecture == "mlp" and (self.layers != 1 or self.layer_norm):
            raise DeviError(
                "modular_addition: layers and layer_norm need architecture=transformer; the MLP has one layer"
            )
        if not 1 <= self._train_count() <= self.p**2:
            raise DeviError(
                f"modular_addition: train_fraction={self.train_fraction} of {self.p**2} pairs leaves nothing to"
                f" train on; give a larger one, e.g. --set train_fraction=0.4"
            )

    def model(self) -> nn.Module:
        if self.architecture == "transformer":
            return Transformer(
                self.p,
                embed=self.embed,
                width=self.width,
                heads=self.heads,
                layers=self.layers,
                layer_norm=self.layer_norm,
            )
        return SumMLP(self.p, embed=self.embed, width=self.width)

    def pairs(self) -> Batch:
        """All p² pairs in order a·p + b: inputs (pair, 2), targets (pair,), before any shuffling of labels."""
        a, b = torch.meshgrid(torch.arange(self.p), torch.arange(self.p), indexing="ij")
        a, b = a.flatten(), b.flatten()
        answer = {"add": a + b, "subtract": a - b}.get(self.operation, a * a + a * b + b * b)
        return Batch(torch.stack([a, b], dim=1), answer % self.p)

    def train_mask(self) -> Tensor:
        """Which of the p² pairs are trained on, (pair,) bool."""
        generator = torch.Generator().manual_seed(self.seed)
        mask = torch.zeros(self.p**2, dtype=torch.bool)
        mask[torch.randperm(self.p**2, generator=generator)[: self._train_count()]] = True
        return mask

    def data(self, split: Split) -> Batch | None:
        inputs, targets = self.pairs()
        if self.shuffle_labels:
            generator = torch.Generator().manual_seed(self.seed + 1)
            targets = targets[torch.randperm(len(targets), generator=generator)]
        chosen = self.train_mask() if split == "train" else ~self.train_mask()
        return Batch(inputs[chosen], targets[chosen]) if chosen.any() else None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="none")

    def replicas(self) -> Replicas | None:
        is_own = type(self).model is ModularAddition.model and type(self).loss is ModularAddition.loss
        if not is_own or self.layers > 1 or self.layer_norm:
            return None
        if self.architecture == "mlp":
            return MLPReplicas()
        return TransformerReplicas() if int(self.train_mask().sum()) >= FEWEST_EXAMPLES else None

    def accuracy(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(-1) == targets).float()

    def metrics(self) -> Sequence[str]:
        # The Fourier metrics read functions of a + b or a − b; x²+xy+y² is neither.
        fourier = ("fourier",) if self.operation in ("add", "subtract") else ()
        return ("losses", "norms", *fourier, "tickets", "llc")

    def _train_count(self) -> int:
        return int(self.train_fraction * self.p**2)


class SumMLP(nn.Module):
    """logits = U · GELU(A e_a + B e_b): one embedding, a matrix per input, no output bias."""

    def __init__(self, p: int, *, embed: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(p, embed)
        self.left = nn.Linear(embed, width)
        self.right = nn.Linear(embed, width)
        self.unembed = nn.Linear(width, p, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.unembed(self.hidden(inputs))  # (example, p)

    def hidden(self, inputs: Tensor) -> Tensor:
        """Activations of the hidden layer, (example, width)."""
        # The first layer once per residue, not once per example: p products instead of len(inputs).
        left, right = self.left(self.embed.weight), self.right(self.embed.weight)  # (p, width)
        # embedding, not left[...]: the same bits, and a derivative that vmap takes 1.3 times faster
        return F.gelu(F.embedding(inputs[:, 0], left) + F.embedding(inputs[:, 1], right))
