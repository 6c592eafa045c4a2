"""Induction heads: a transformer with attention only learns to copy what followed the last time.

devi train examples/induction.py:Induction
devi analyze checkpoints/induction-seed0 --task examples/induction.py:Induction
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from devi import Batch, Metric, Task


class Layer(nn.Module):
    """Causal attention on a normalized residual stream, (example, position, embed)."""

    def __init__(self, embed, heads):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(embed)
        self.read = nn.Linear(embed, 3 * embed, bias=False)
        self.write = nn.Linear(embed, embed, bias=False)

    def forward(self, stream):
        pattern, values = self.attention(stream)
        return stream + self.write((pattern @ values).transpose(1, 2).flatten(2))

    def attention(self, stream):
        """Who looks at whom, (example, head, from, to), and the values, (example, head, position, size)."""
        read = self.read(self.norm(stream)).unflatten(-1, (3, self.heads, -1))
        query, key, values = read.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        return scores.masked_fill(future, -math.inf).softmax(-1), values


class AttentionOnly(nn.Module):
    """Logits over the next token, (example, position, token)."""

    def __init__(self, tokens, length, embed, heads, layers):
        super().__init__()
        self.token = nn.Embedding(tokens, embed)
        self.position = nn.Embedding(length, embed)
        self.layers = nn.ModuleList(Layer(embed, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(embed)
        self.unembed = nn.Linear(embed, tokens, bias=False)

    def forward(self, inputs):
        stream = self.token(inputs) + self.position.weight[: inputs.shape[1]]
        for layer in self.layers:
            stream = layer(stream)
        return self.unembed(self.norm(stream))

    def patterns(self, inputs):
        """(layer, example, head, from, to)."""
        stream, found = self.token(inputs) + self.position.weight[: inputs.shape[1]], []
        for layer in self.layers:
            found.append(layer.attention(stream)[0])
            stream = layer(stream)
        return torch.stack(found)


class PrefixMatching(Metric):
    """Of each head, layer by layer: attention to the tokens behind earlier copies of the present one."""

    name = "prefix_matching"
    long_name = "prefix-matching score"
    source = "Olsson et al. 2022, arXiv:2209.11895"
    dims = ("head",)
    bounds = (0.0, 1.0)
    material = 0.2

    def at(self, model, task):
        tokens = task.data("test").inputs
        followed = F.pad(tokens[:, :, None] == tokens[:, None, :-1], (1, 0)).tril()  # (example, from, to)
        known = followed.any(-1)  # (example, from)
        share = (model.patterns(tokens) * followed[:, None]).sum(-1).movedim(2, 0)  # (head, layer, example, from)
        return share[..., known].mean(-1).T.flatten().numpy()


class InContextLearning(Metric):
    """Loss at the last four positions minus that at positions 2 to 5 (Olsson et al.: at token 500 minus token 50)."""

    name = "in_context_learning_score"
    units = "nats"
    long_name = "in-context learning score"
    source = "Olsson et al. 2022, arXiv:2209.11895"

    def at(self, model, task):
        inputs, targets = task.data("test")
        losses = F.cross_entropy(model(inputs).movedim(-1, 1), targets, reduction="none").mean(0)  # (position,)
        return float(losses[-4:].mean() - losses[1:5].mean())


@dataclass(frozen=True)
class Induction(Task):
    """A block of 8 to 16 random tokens, again and again. Two layers learn to copy around step 250; one never does.

    The period is random: position alone does not give the answer away.
    """

    tokens: int = 32
    length: int = 32
    embed: int = 64
    heads: int = 4
    layers: int = 2
    learning_rate: float = 1e-3
    optimizer: str = "AdamW"
    weight_decay: float = 0.01
    batch_size: int = 64
    steps: int = 1000
    checkpoints: str = "log:150"
    seed: int = 0

    def model(self):
        return AttentionOnly(self.tokens, self.length, self.embed, self.heads, self.layers)

    def batch(self, step, generator):
        return self._sequences(self.batch_size, generator)

    def data(self, split):
        return self._sequences(256, torch.Generator().manual_seed(2 * self.seed + (split == "test")))

    def _sequences(self, count, generator):
        blocks = torch.randint(self.tokens, (count, 16), generator=generator)
        periods = torch.randint(8, 17, (count, 1), generator=generator)
        tokens = blocks.gather(1, torch.arange(self.length + 1) % periods)
        return Batch(tokens[:, :-1], tokens[:, 1:])

    def loss(self, outputs, targets):
        return F.cross_entropy(outputs.movedim(-1, 1), targets, reduction="none").mean(-1)

    def metrics(self):
        return ("losses", "norms", PrefixMatching(), InContextLearning(), "llc")
