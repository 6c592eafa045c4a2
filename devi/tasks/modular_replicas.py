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
AT_ONCE = 8192
SIDES, KINDS = ("left", "right"), ("weight", "bias")


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
        matrices, biases = (torch.cat([parameters[f"{side}.{kind}"] for side in SIDES], 1) for kind in KINDS)
        # (replica · residue · side, width): one product for both sides, a row per residue and side
        table = torch.baddbmm(biases[:, None], embed, matrices.mT).view(-1, width)
        of_table = torch.zeros_like(table)
        of_unembed = torch.zeros_like(unembed, memory_format=torch.contiguous_format)
        losses = embed.new_empty(replicas, len(inputs))
        rows_of = torch.arange(2 * p * replicas, device=embed.device).view(replicas, p, 2)[:, 0].T  # (side, replica)
        size = max(1, AT_ONCE // replicas)
        for start in range(0, len(inputs), size):
            part = slice(start, start + size)
            a, b = (2 * inputs[part].T[:, None] + rows_of[..., None]).flatten(1)  # (replica · example,)
            target = targets[part].expand(replicas, 1, -1)  # (replica, 1, example)
            count = target.shape[2]
            before = self.scratch("before", replicas * count, width, like=embed)
            act = self.scratch("act", replicas, count, width, like=embed)
            logits = self.scratch("logits", replicas, p, count, like=embed)
            rows = act.flatten(0, 1)
            torch.index_select(table, 0, a, out=before)
            before += torch.index_select(table, 0, b, out=rows)
            torch.ops.aten.gelu.out(before, out=rows)
            torch.bmm(unembed, act.mT, out=logits)
            logits -= logits.amax(dim=1, keepdim=True)
            right = logits.gather(1, target)
            total = logits.exp_().sum(dim=1, keepdim=True)
            losses[:, part] = (total.log() - right)[:, 0]
            if gradients:
                of_logits = logits.div_(total).scatter_add_(1, target, total.new_tensor(-1.0).expand(target.shape))
                of_unembed.baddbmm_(of_logits, act)
                torch.bmm(of_logits.mT, unembed, out=act)  # the gradient of what stood there
                torch.ops.aten.gelu_backward.grad_input(rows, before, grad_input=rows)
                of_table.index_add_(0, a, rows).index_add_(0, b, rows)
        if not gradients:
            return losses, {}
        both = of_table.view(replicas, p, 2 * width)
        of_sides = {"weight": both.mT @ embed, "bias": both.sum(dim=1)}
        found = {
            f"{side}.{kind}": half
            for kind, whole in of_sides.items()
            for side, half in zip(SIDES, whole.split(width, dim=1), strict=True)
        }
        return losses, {**found, "embed.weight": both @ matrices, "unembed.weight": of_unembed}
