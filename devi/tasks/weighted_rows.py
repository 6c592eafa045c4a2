"""Weighted sums of a table's rows, in one pass and batched by vmap: attention over tokens that share their values.

    out[n] = sum over k of weights[n, k] * table[place[n, k]]

torch's embedding_bag does this without forming the (n, k, width) terms, but has no rule for vmap: replicas are put one
behind another here, so that many of them stay one call. First derivatives only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.functional import embedding_bag


def weighted_rows(table: Tensor, place: Tensor, weights: Tensor) -> Tensor:
    """(n, width) from table (rows, width), place (n, k) of integers and weights (n, k)."""
    return _WeightedRows.apply(table, place, weights)


class _WeightedRows(torch.autograd.Function):
    @staticmethod
    def forward(table: Tensor, place: Tensor, weights: Tensor) -> Tensor:
        return embedding_bag(place, table, mode="sum", per_sample_weights=weights)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor]:
        table, place, weights = ctx.saved_tensors
        of_table, of_weights = _Backward.apply(table, place, weights, gradient)
        return of_table, None, of_weights

    @staticmethod
    def vmap(info: Any, axes: tuple[int | None, ...], *given: Tensor) -> tuple[Tensor, int]:
        out = _WeightedRows.apply(*_in_a_row(info.batch_size, axes, given))
        return out.unflatten(0, (info.batch_size, -1)), 0


class _Backward(torch.autograd.Function):
    """Both gradients; a function of its own, so that vmap batches it in the same way."""

    @staticmethod
    def forward(table: Tensor, place: Tensor, weights: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaves = table.detach().requires_grad_(), weights.detach().requires_grad_()
            out = embedding_bag(place, leaves[0], mode="sum", per_sample_weights=leaves[1])
        of_table, of_weights = torch.autograd.grad(out, leaves, gradient.contiguous())
        return of_table, of_weights

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise RuntimeError("weighted_rows has first derivatives only; for a Hessian use the model's `plain` forward")

    @staticmethod
    def vmap(info: Any, axes: tuple[int | None, ...], *given: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        of_table, of_weights = _Backward.apply(*_in_a_row(info.batch_size, axes, given))
        replicas = info.batch_size, -1
        return (of_table.unflatten(0, replicas), of_weights.unflatten(0, replicas)), (0, 0)


def _in_a_row(replicas: int, axes: tuple[int | None, ...], given: tuple[Tensor, ...]) -> list[Tensor]:
    """Every input of all replicas as one: (replica, n, ...) -> (replica * n, ...); places count on."""
    every = [
        x.expand(replicas, *x.shape) if axis is None else x.movedim(axis, 0)
        for x, axis in zip(given, axes, strict=True)
    ]
    table, place = every[:2]
    rows = table.shape[1]
    every[1] = place + rows * torch.arange(replicas, device=place.device)[:, None, None]
    return [x.flatten(0, 1) for x in every]
