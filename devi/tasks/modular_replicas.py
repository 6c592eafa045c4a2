"""The losses of many modular-addition MLPs at once and the gradients of their sums, written out.

logits = U·GELU(l_a + r_b),   l = E Aᵀ + a₀,   r = E Bᵀ + b₀      (a row per residue, shared by all examples)
∂loss/∂logits = softmax(logits) − onehot(target)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from devi.task import Replicas
from devi.tasks.scratch import Scratch

# Replicas · examples worked on at a time, a power of two found by trying: with half as many the calls cost more than
# the smaller tensors save, with twice as many they leave the cache.
AT_ONCE = 4096
SIDES = ("left", "right")


class MLPReplicas(Replicas):
    """See `devi.task.Replicas`."""

    def __init__(self) -> None:
        self.scratch = Scratch()

    def __call__(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, targets: Tensor, *, gradients: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        embed = parameters["embed.weight"]  # (replica, p, e)
        unembed = parameters["unembed.weight"]  # (replica, p, width)
        replicas, p, width = unembed.shape
        matrices = [parameters[f"{side}.weight"] for side in SIDES]  # (replica, width, e)
        tables = [
            torch.baddbmm(parameters[f"{side}.bias"][:, None], embed, matrix.mT).flatten(0, 1)  # (replica * p, width)
            for side, matrix in zip(SIDES, matrices, strict=True)
        ]
        of_tables = [torch.zeros_like(table) for table in tables]
        of_unembed = torch.zeros_like(unembed, memory_format=torch.contiguous_format)
        losses = embed.new_empty(replicas, len(inputs))
        first = p * torch.arange(replicas, device=embed.device)[:, None]  # row of each replica in a table
        size = max(1, AT_ONCE // replicas)
        for start in range(0, len(inputs), size):
            part = slice(start, start + size)
            a, b = (inputs[part].T[:, None] + first).flatten(1)  # (replica * example,)
            target = targets[part].expand(replicas, -1)[..., None]  # (replica, example, 1)
            flat, by_replica = (len(a), width), (replicas, target.shape[1])
            before, other = (self.scratch(name, *flat, like=embed) for name in ("before", "other"))
            act, of_act = (self.scratch(name, *by_replica, width, like=embed) for name in ("act", "of act"))
            logits, logs = (self.scratch(name, *by_replica, p, like=embed) for name in ("logits", "logs"))
            torch.index_select(tables[0], 0, a, out=before)
            before += torch.index_select(tables[1], 0, b, out=other)
            torch.ops.aten.gelu.out(before, out=act.flatten(0, 1))
            torch.log_softmax(torch.bmm(act, unembed.mT, out=logits), dim=2, out=logs)
            losses[:, part] = logs.gather(2, target)[..., 0].neg_()
            if gradients:
                of_logits = torch.exp(logs, out=logits)
                of_logits.scatter_add_(2, target, of_logits.new_tensor(-1.0).expand(target.shape))
                of_unembed.baddbmm_(of_logits.mT, act)
                torch.bmm(of_logits, unembed, out=of_act)
                torch.ops.aten.gelu_backward.grad_input(of_act.flatten(0, 1), before, grad_input=other)
                of_tables[0].index_add_(0, a, other)
                of_tables[1].index_add_(0, b, other)
        if not gradients:
            return losses, {}
        found = {"embed.weight": torch.zeros_like(embed, memory_format=torch.contiguous_format)}
        for side, table, matrix in zip(SIDES, of_tables, matrices, strict=True):
            rows = table.view_as(unembed)  # (replica, p, width)
            found["embed.weight"].baddbmm_(rows, matrix)
            found[f"{side}.weight"], found[f"{side}.bias"] = rows.mT @ embed, rows.sum(dim=1)
        return losses, {**found, "unembed.weight": of_unembed}
