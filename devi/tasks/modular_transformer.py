"""The grokking transformer: tokens a, b, '='; the answer is read at '=' and only what it needs is computed.

Source: Nanda et al. 2023, arXiv:2301.05217 (no biases in attention, learned positions, ReLU, untied unembedding).
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from devi.tasks.weighted_rows import weighted_rows

POSITIONS = 3  # a, b, '='


class Block(nn.Module):
    """Attention then MLP, each added to the residual stream."""

    def __init__(self, *, embed: int, width: int, heads: int, layer_norm: bool) -> None:
        super().__init__()
        size, scale = embed // heads, 1 / math.sqrt(embed)
        self.query = nn.Parameter(scale * torch.randn(heads, embed, size))
        self.key = nn.Parameter(scale * torch.randn(heads, embed, size))
        self.value = nn.Parameter(scale * torch.randn(heads, embed, size))
        self.output = nn.Parameter(scale * torch.randn(heads * size, embed))
        self.mlp_in = nn.Parameter(scale * torch.randn(embed, width))
        self.bias_in = nn.Parameter(torch.zeros(width))
        self.mlp_out = nn.Parameter(scale * torch.randn(width, embed))
        self.bias_out = nn.Parameter(torch.zeros(embed))
        self.norm_attention = nn.LayerNorm(embed) if layer_norm else nn.Identity()
        self.norm_mlp = nn.LayerNorm(embed) if layer_norm else nn.Identity()

    def keys_values(self, stream: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, (heads, ..., size), of a residual stream (..., embed)."""
        x = self.norm_attention(stream)
        return torch.einsum("...d,hds->h...s", x, self.key), torch.einsum("...d,hds->h...s", x, self.value)

    def activations(self, stream: Tensor) -> Tensor:
        """MLP activations, (..., width)."""
        return torch.relu(self.norm_mlp(stream) @ self.mlp_in + self.bias_in)

    def everywhere(self, stream: Tensor) -> Tensor:
        """The block at every position, causal: (example, position, embed) -> the same."""
        query = torch.einsum("npd,hds->hnps", self.norm_attention(stream), self.query)
        key, value = self.keys_values(stream)
        scores = query @ key.transpose(-1, -2) / math.sqrt(key.shape[-1])  # (heads, example, position, position)
        future = torch.ones(POSITIONS, POSITIONS, dtype=torch.bool, device=stream.device).triu(1)
        mixed = scores.masked_fill(future, -torch.inf).softmax(-1) @ value  # (heads, example, position, size)
        stream = stream + mixed.permute(1, 2, 0, 3).flatten(2) @ self.output
        return stream + self.activations(stream) @ self.mlp_out + self.bias_out


class Transformer(nn.Module):
    """Logits over p + 1 tokens at the last position, (example, p + 1)."""

    def __init__(self, p: int, *, embed: int, width: int, heads: int, layers: int, layer_norm: bool) -> None:
        super().__init__()
        self.p = p
        self.embed = nn.Parameter(torch.randn(p + 1, embed) / math.sqrt(embed))
        self.position = nn.Parameter(torch.randn(POSITIONS, embed) / math.sqrt(embed))
        self.blocks = nn.ModuleList(
            Block(embed=embed, width=width, heads=heads, layer_norm=layer_norm) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(embed) if layer_norm else nn.Identity()
        self.unembed = nn.Parameter(torch.randn(embed, p + 1) / math.sqrt(p + 1))

    def forward(self, inputs: Tensor) -> Tensor:
        block = self._blocks[-1]
        stream = self.last_stream(inputs)
        stream = stream + block.activations(stream) @ block.mlp_out + block.bias_out
        return self.norm(stream) @ self.unembed

    def hidden(self, inputs: Tensor) -> Tensor:
        """MLP activations of the last block at '=', (example, width)."""
        return self._blocks[-1].activations(self.last_stream(inputs))

    def last_stream(self, inputs: Tensor) -> Tensor:
        """Residual stream at '=' after the last block's attention, (example, embed)."""
        *earlier, block = self._blocks
        if not earlier:
            final, *mixture = self._shared(inputs)
            return final + weighted_rows(*mixture)
        stream = self._all_tokens(inputs)
        for each in earlier:
            stream = each.everywhere(stream)
        final = stream[:, -1]  # (example, embed)
        query = torch.einsum("nd,hds->hns", block.norm_attention(final), block.query)
        key, value = block.keys_values(stream)  # (heads, example, position, size)
        scores = (query[:, :, None] @ key.transpose(-1, -2))[:, :, 0] / math.sqrt(key.shape[-1])
        mixed = (scores.softmax(-1)[..., None] * value).sum(2)  # (heads, example, size)
        return final + mixed.permute(1, 0, 2).flatten(1) @ block.output

    def _shared(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A value depends on the token and its position alone, and the query on neither a nor b.

        So one layer needs 2p + 1 scores and values (here already through the output map) and one query, not 3 of each
        for every example. A score is stream · (key map · query): no key is ever formed. The stream at '=' is

            final + weighted_rows(table, rows, weights)

        final (embed,), table (heads * (2p + 1), embed), rows and weights (example, position * heads).
        Products of the table with W_in would not pay: benchmarks/transformer_forward.py.
        """
        block, p = self._blocks[0], self.p
        final = self.embed[p] + self.position[2]  # (embed,)
        tokens = (self.embed[None, :p] + self.position[:2, None]).flatten(0, 1)  # (2p, embed)
        seen = block.norm_attention(torch.cat([tokens, final[None]]))  # (2p + 1, embed)
        query = torch.einsum("d,hds->hs", seen[-1], block.query)
        scores = seen @ torch.einsum("hds,hs->dh", block.key, query) / math.sqrt(query.shape[-1])  # (2p + 1, heads)
        value = torch.einsum("td,hds->hts", seen, block.value)
        moved = value @ block.output.view(len(value), -1, block.output.shape[-1])  # (heads, 2p + 1, embed)
        a, b = inputs[:, 0], inputs[:, 1] + p
        place = torch.stack([a, b, torch.full_like(a, 2 * p)], dim=1)  # (example, position)
        weights = scores[place].softmax(1)  # (example, position, heads)
        rows = place[:, :, None] + (2 * p + 1) * torch.arange(len(moved), device=place.device)  # in `moved`, flat
        return final, moved.flatten(0, 1), rows.flatten(1), weights.flatten(1)

    def plain(self, inputs: Tensor) -> Tensor:
        """The same logits with every position computed for every example: the reference for `forward`."""
        stream = self._all_tokens(inputs)
        for block in self._blocks:
            stream = block.everywhere(stream)
        return self.norm(stream[:, -1]) @ self.unembed

    @property
    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    def _all_tokens(self, inputs: Tensor) -> Tensor:
        equals = torch.full_like(inputs[:, :1], self.p)
        return self.embed[torch.cat([inputs, equals], dim=1)] + self.position
