"""A training step of the p = 113 transformer beside a plain one.

    python benchmarks/transformer_training.py [--rounds N] [--write]

The full batch (3830 pairs): loss, gradient, AdamW. The plain model is written here, with einsum, as the papers' own
code has it: every position attended, passed through the MLP and unembedded, the loss read at the last one. Both start
from the same numbers and take turns, step by step; their losses must agree.
"""

from __future__ import annotations

import argparse
import copy
import time

import numpy as np
import torch
from tables import put_table
from torch import Tensor, nn
from torch.nn import functional as F

from devi.optimizers import make_optimizer
from devi.plan import planned
from devi.plugins import load
from devi.training import update

AGREE = 1e-4  # of the loss, after as many steps as are timed: float32, summed in another order
HEADER = ("training step", "ms", "× faster", "losses differ by")


class EveryPosition(nn.Module):
    """A one-layer transformer by einsum; the weights are those of the model it is made from."""

    def __init__(self, model: nn.Module, p: int) -> None:
        super().__init__()
        self.p = p
        for name, value in copy.deepcopy(model).named_parameters():
            self.register_parameter(name.removeprefix("blocks.0."), nn.Parameter(value.detach()))

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = torch.cat([inputs, torch.full_like(inputs[:, :1], self.p)], dim=1)
        x = self.embed[tokens] + self.position  # (example, position, embed)
        query, key, value = (
            torch.einsum("bpd,hds->bhps", x, w) for w in (self.get_parameter(n) for n in ("query", "key", "value"))
        )
        scores = torch.einsum("bhqs,bhks->bhqk", query, key) / query.shape[-1] ** 0.5
        scores = scores.masked_fill(torch.ones(3, 3, dtype=torch.bool).triu(1), -torch.inf)
        mixed = torch.einsum("bhqk,bhks->bqhs", scores.softmax(-1), value).flatten(2)
        x = x + torch.einsum("bpi,id->bpd", mixed, self.output)
        act = torch.relu(torch.einsum("bpd,dw->bpw", x, self.mlp_in) + self.bias_in)
        x = x + torch.einsum("bpw,wd->bpd", act, self.mlp_out) + self.bias_out
        return torch.einsum("bpd,dv->bpv", x, self.unembed)  # (example, position, p + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    task, plan = planned(load("task", "modular_addition"), {}, preset="p113")
    torch.manual_seed(0)
    model, data = task.model(), task.data("train")
    assert data is not None
    plain = EveryPosition(model, task.p)
    optimizers = make_optimizer(task, plan, model), make_optimizer(task, plan, plain)

    def devi_step() -> float:
        return float(update(task, model, optimizers[0], data))

    def plain_step() -> float:
        optimizers[1].zero_grad()
        loss = F.cross_entropy(plain(data.inputs)[:, -1], data.targets)
        loss.backward()
        optimizers[1].step()
        return float(loss)

    seconds: dict[str, list[float]] = {"devi": [], "plain": []}
    worst = 0.0
    for number in range(options.rounds + 2):
        found = []
        for name, step in (("devi", devi_step), ("plain", plain_step)):
            began = time.perf_counter()
            found.append(step())
            if number >= 2:  # the first steps make the optimizers' memory
                seconds[name].append(time.perf_counter() - began)
        worst = max(worst, abs(found[0] - found[1]) / found[1])
    assert worst < AGREE, f"losses differ by {worst:.1e}"
    rows = []
    for name, taken in seconds.items():
        low, middle, high = np.quantile(1e3 * np.array(taken), [0.25, 0.5, 0.75])
        ratio = np.quantile(np.array(seconds["plain"]) / np.array(taken), [0.25, 0.5, 0.75])
        rows.append([
            "devi" if name == "devi" else "plain einsum, every position", f"{middle:.0f} ({low:.0f} to {high:.0f})",
            f"{ratio[1]:.2f} ({ratio[0]:.2f} to {ratio[2]:.2f})", f"{worst:.0e}",
        ])  # fmt: skip
    for row in (HEADER, *rows):
        print(*row, sep=" | ")
    if options.write:
        put_table(
            "transformer training", HEADER, rows,
            f"Medians of {options.rounds} alternating steps, quartiles in brackets, {torch.get_num_threads()} threads,"
            " float32. Goal: 3.",
        )  # fmt: skip


if __name__ == "__main__":
    main()
