"""Attention of a one-layer transformer at '=' as a weighted sum of a table's rows, and its gradient.

    stream[n] = final + Σ_{position, head} weights[n, position, head]·moved[head, token at position]
    weights = softmax over positions of scores[token, head],   scores = seen·Σ_s K_s q_s/√size,   moved = seen V O

A token (2p + 1: residues at the first place, at the second, and '=') has one score and one value a head, whatever the
example. Same numbers as `Transformer.last_stream`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from devi.tasks.scratch import Scratch


class AttentionTable:
    """One replica's; `stream` for some examples and `backward` for the same, in turn, then `finish`."""

    def __init__(self, w: Mapping[str, Tensor], scratch: Scratch) -> None:
        self.w, self.scratch = w, scratch
        heads, embed, size = w["value"].shape
        self.p = p = len(w["embed"]) - 1
        self.scale = 1 / math.sqrt(size)
        self.final = w["embed"][p] + w["position"][2]  # (embed,)
        tokens = (w["embed"][None, :p] + w["position"][:2, None]).flatten(0, 1)
        self.seen = torch.cat([tokens, self.final[None]])  # (token, embed)
        self.query = torch.einsum("d,hds->hs", self.final, w["query"])
        self.key_map = torch.einsum("hds,hs->dh", w["key"], self.query) * self.scale  # (embed, head)
        self.scores = self.seen @ self.key_map  # (token, head)
        self.value = self.seen @ w["value"]  # (head, token, size)
        self.output = w["output"].view(heads, size, embed)
        shape = heads, len(self.seen), embed
        self.moved = torch.bmm(self.value, self.output, out=scratch("moved", *shape, like=self.final))
        self.by_token = scratch("by token", shape[1], heads, embed, like=self.final).copy_(self.moved.transpose(0, 1))
        self.heads = torch.arange(heads, device=self.final.device)
        self.of_final = torch.zeros_like(self.final)
        self.of_scores = torch.zeros_like(self.scores)
        self.of_moved = scratch("of moved", shape[1], heads, embed, like=self.final).zero_()

    def stream(self, inputs: Tensor) -> Tensor:
        """Residual stream at '=', (example, embed), of inputs (example, 2)."""
        equals = torch.full_like(inputs[:, 0], 2 * self.p)
        self.place = torch.stack([inputs[:, 0], inputs[:, 1] + self.p, equals], dim=1)  # (example, position)
        self.weights = self.scores[self.place].softmax(1)  # (example, position, head)
        rows = self.place[:, :, None] + len(self.seen) * self.heads
        table, weights = self.moved.flatten(0, 1), self.weights.flatten(1)
        return embedding_bag(rows.flatten(1), table, mode="sum", per_sample_weights=weights).add_(self.final)

    def backward(self, of_stream: Tensor) -> None:
        """Adds what these examples' ∂loss/∂stream (example, embed) gives."""
        of_weights = torch.empty_like(self.weights)
        spread = of_stream[:, None]
        for position in (0, 1):
            token = self.place[:, position]
            seen = self.scratch("seen", len(token), *self.of_moved.shape[1:], like=of_stream)
            torch.index_select(self.by_token, 0, token, out=seen)
            torch.sum(seen.mul_(spread), dim=2, out=of_weights[:, position])
            part = torch.mul(self.weights[:, position, :, None], spread, out=seen)
            self.of_moved.index_add_(0, token, part)
        torch.mm(of_stream, self.moved[:, -1].T, out=of_weights[:, 2])
        self.of_moved[-1].addmm_(self.weights[:, 2].T, of_stream)
        of_scores = self.weights * (of_weights - (self.weights * of_weights).sum(1, keepdim=True))
        cells = self.place[:, :, None] * len(self.heads) + self.heads
        self.of_scores.view(-1).index_add_(0, cells.flatten(), of_scores.flatten())
        self.of_final += of_stream.sum(0)

    def finish(self, into: Mapping[str, Tensor]) -> None:
        """Writes the gradients of the attention and the embedding."""
        w, of_moved = self.w, self.of_moved.transpose(0, 1)  # (head, token, embed)
        into["output"].view_as(self.output).copy_(self.value.mT @ of_moved)
        of_value = of_moved @ self.output.mT  # (head, token, size)
        torch.matmul(self.seen.T, of_value, out=into["value"])
        of_seen = torch.einsum("hts,hds->td", of_value, w["value"]).addmm_(self.of_scores, self.key_map.T)
        of_key_map = self.scale * self.seen.T @ self.of_scores  # (embed, head)
        into["key"].copy_(of_key_map.T[:, :, None] * self.query[:, None])
        of_query = torch.einsum("hds,dh->hs", w["key"], of_key_map)
        into["query"].copy_(self.final[:, None] * of_query[:, None])
        of_final = self.of_final + of_seen[-1] + torch.einsum("hds,hs->d", w["query"], of_query)
        of_tokens = of_seen[:-1].view(2, self.p, -1)
        torch.sum(of_tokens, dim=0, out=into["embed"][: self.p])
        torch.sum(of_tokens, dim=1, out=into["position"][:2])
        into["embed"][self.p], into["position"][2] = of_final, of_final
