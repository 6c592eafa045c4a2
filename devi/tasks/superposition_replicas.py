"""The losses of many superposition models at once and the gradients of their sums, written out.

    z = √I∘(WᵀW x + b),   r = ReLU(z) − √I∘x,   loss = Σ_i r_i²,   ∂loss/∂z = 2 r∘1[z > 0]

With M = √I∘[WᵀW  b] the z of all replicas are one product M·[x; 1], and ∂loss/∂M is one more, with its transpose. With
G = √I∘∂loss/∂M, the last column apart:   ∂loss/∂W = W·(G + Gᵀ),   ∂loss/∂b = the last column

Many examples of one feature each are summed without going through them, see `devi.tasks.one_hot`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from devi.task import Replicas
from devi.tasks.one_hot import OneHot, is_one_hot
from devi.tasks.scratch import Scratch

# Entries of z (replica · feature · example) worked on at a time: two such tensors stay in a core's cache of 2 MiB.
AT_ONCE = 160_000
# So many examples of one feature each are gone through: 100 cost as much as sums over them do, and sums that serve one
# step only, of a minibatch, must be made first. It may not depend on the replicas: their places change no number.
FEW = 256
# Examples that take as long as sums: a step of sgld on 1000 took as long as one on 90 with 6 features and 2 hidden, on
# 180 with 20 and 5.
SUMS_COST = 128
MOST_FEATURES = 64  # sums take memory for each pair of features


class SuperpositionReplicas(Replicas):
    """See `devi.task.Replicas`."""

    outruns_compiled = True

    def __init__(self, importances: Tensor, *, relu: bool) -> None:
        self.importances, self.relu, self.scratch = importances.double(), relu, Scratch()
        self.root = self.importances.sqrt()
        self.inputs: Tensor | None = None  # of the last call that might have had a use for sums
        self.targets: Tensor | None = None
        self.sums: OneHot | None = None  # over them

    def __call__(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, targets: Tensor, *, gradients: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        weight, bias = parameters["W"], parameters["b"]  # (replica, hidden, feature), (replica, feature)
        replicas, features = bias.shape
        if gradients and (sums := self._sums(inputs, targets)) is not None:
            loss, of_weight, of_bias = sums.loss_and_gradients(weight, bias, self.importances)
            return loss[:, None] / len(inputs), {"W": of_weight.to(bias), "b": of_bias.to(bias)}
        root = self.root.to(bias)
        matrix = torch.cat([weight.mT @ weight, bias[..., None]], dim=2) * root[:, None]  # (replica, feature, f + 1)
        rows = matrix.flatten(0, 1)
        seen = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)  # (example, f + 1)
        wanted = (targets * root).T.contiguous()  # (feature, example)
        losses = bias.new_zeros(replicas, len(inputs))
        of_rows = torch.zeros_like(rows)
        size = max(1, AT_ONCE // (replicas * features))
        for start in range(0, len(inputs), size):
            part = slice(start, start + size)
            shape = replicas, features, len(seen[part])
            before, rest = (self.scratch(name, *shape, like=bias) for name in ("before", "rest"))
            torch.mm(rows, seen[part].T, out=before.flatten(0, 1))
            if self.relu:
                torch.clamp_min(before, 0, out=rest)
            else:
                rest = before
            rest -= wanted[:, part]
            for feature in range(features):  # not sum(dim=1), whose order depends on how many examples there are
                losses[:, part].addcmul_(rest[:, feature], rest[:, feature])
            if gradients:
                if self.relu:
                    torch.ops.aten.threshold_backward.grad_input(rest, before, 0, grad_input=rest)
                of_rows.addmm_(rest.flatten(0, 1), seen[part])
        if not gradients:
            return losses, {}
        of_matrix = of_rows.view_as(matrix) * (2 * root[:, None])
        of_product = of_matrix[..., :-1]
        return losses, {"W": weight @ (of_product + of_product.mT), "b": of_matrix[..., -1]}

    def cost(self, inputs: Tensor, targets: Tensor) -> int:
        """See `devi.task.Replicas`: sums cost the same however many examples they are over."""
        return len(targets) if self._sums(inputs, targets) is None else SUMS_COST

    def _sums(self, inputs: Tensor, targets: Tensor) -> OneHot | None:
        """Of these examples, made once as long as they stay the same; None where they cannot be summed so."""
        if not self.relu or len(inputs) <= FEW:
            return None
        if inputs is not self.inputs or targets is not self.targets:
            may = inputs.shape[1] <= MOST_FEATURES and torch.equal(inputs, targets) and is_one_hot(inputs)
            self.inputs, self.targets, self.sums = inputs, targets, OneHot(inputs) if may else None
        return self.sums
