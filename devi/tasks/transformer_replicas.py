"""The losses of many one-layer transformers and the gradients of their sums, written out; see `modular_transformer`.

    stream = final + Σ_rows weights·moved[rows]      a row per (position, token) and head, shared by all examples
    logits = (stream + ReLU(stream W_in + b_in) W_out + b_out) U,   ∂loss/∂logits = softmax(logits) − onehot(target)

One replica after another: its products are large enough, and its activations stay in the cache. With few examples they
are not, and vmap, which takes all replicas at once, is faster.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from devi.task import Replicas
from devi.tasks.attention_table import AttentionTable
from devi.tasks.scratch import Scratch

# Examples worked on at a time: activations of the width 512, twice, stay in a cache of 2 MiB, and the gradients of the
# weights are added to no more often than that needs (by hand, 3830 pairs: 34.1 ms at 256, 32.2 at 512, 33.0 at 768).
AT_ONCE = 512
# Training pairs from which on this is faster than vmap and autograd: with 84 pairs (p=13) it takes 2.0 times as long,
# with 264 (p=23) 1.2 to 1.5, with 480 (p=31) 0.86, with 3830 (p=113) 0.7, all by hand. No clock: a seed gives the same
# numbers.
FEWEST_EXAMPLES = 400


class TransformerReplicas(Replicas):
    """See `devi.task.Replicas`."""

    def __init__(self) -> None:
        self.scratch = Scratch()

    def __call__(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, targets: Tensor, *, gradients: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        kept = parameters.items() if gradients else ()
        found = {name: self.scratch(name, *value.shape, like=value) for name, value in kept}
        rows = []
        for replica in range(len(parameters["embed"])):
            own = {name.removeprefix("blocks.0."): value[replica] for name, value in parameters.items()}
            into = {name.removeprefix("blocks.0."): value[replica] for name, value in found.items()}
            rows.append(self._one(own, inputs, targets, into))
        return torch.stack(rows), found

    def _one(self, w: Mapping[str, Tensor], inputs: Tensor, targets: Tensor, into: Mapping[str, Tensor]) -> Tensor:
        """Loss of each example (example,); the gradient goes into `into` unless that is empty."""
        table = AttentionTable(w, self.scratch)
        w_in, w_out, unembed = w["mlp_in"], w["mlp_out"], w["unembed"]
        losses = w_in.new_empty(len(inputs))
        for name in ("mlp_in", "mlp_out", "bias_in", "bias_out", "unembed"):
            if into:
                into[name].zero_()
        for start in range(0, len(inputs), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            stream = table.stream(inputs[part])  # (example, embed)
            count, target = len(stream), targets[part, None]

            def scratch(name: str, width: int, count: int = count) -> Tensor:
                return self.scratch(name, count, width, like=w_in)

            act = torch.addmm(w["bias_in"], stream, w_in, out=scratch("act", len(w_out))).relu_()
            out = torch.addmm(w["bias_out"], act, w_out, out=scratch("out", len(unembed))).add_(stream)
            logits = torch.mm(out, unembed, out=scratch("logits", unembed.shape[1]))
            logs = torch.log_softmax(logits, dim=1, out=scratch("logs", unembed.shape[1]))
            losses[part] = logs.gather(1, target)[:, 0].neg_()
            if into:
                of_logits = torch.exp(logs, out=logits).scatter_add_(1, target, logs.new_tensor(-1.0).expand(count, 1))
                into["unembed"].addmm_(out.T, of_logits)
                of_out = torch.mm(of_logits, unembed.T, out=scratch("of out", len(unembed)))
                into["mlp_out"].addmm_(act.T, of_out)
                into["bias_out"].add_(of_out.sum(0))
                of_act = torch.mm(of_out, w_out.T, out=scratch("of act", len(w_out)))
                torch.ops.aten.threshold_backward.grad_input(of_act, act, 0, grad_input=of_act)
                into["mlp_in"].addmm_(stream.T, of_act)
                into["bias_in"].add_(of_act.sum(0))
                table.backward(of_out.addmm_(of_act, w_in.T))
        if into:
            table.finish(into)
        return losses
