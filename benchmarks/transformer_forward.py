"""What does computing each product once per token save? python benchmarks/transformer_forward.py [--write]

Loss and gradient of the p = 113 transformer, four ways that must agree with the plain one in float64:

  plain              every position of every example
  per example        only what '=' reads, each product for each example
  shipped            values, through the output map, and scores once per token and position; mixed per example
  shipped, W_in too  the products with W_in once per token and position as well

on the full batch (3830 pairs), as training does, and on 16 replicas × 256 pairs under vmap, as sampling does.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
from tables import put_table
from torch import Tensor
from torch.func import functional_call, vmap

from devi.plan import planned
from devi.plugins import load
from devi.tasks.modular_transformer import Transformer
from devi.tasks.weighted_rows import weighted_rows

ROUNDS = 15
REPLICAS, BATCH = 16, 256


class PerExample(Transformer):
    def last_stream(self, inputs: Tensor) -> Tensor:
        block, stream = self._blocks[0], self._all_tokens(inputs)
        query = torch.einsum("nd,hds->hns", stream[:, -1], block.query)
        key, value = block.keys_values(stream)
        scores = (query[:, :, None] @ key.transpose(-1, -2))[:, :, 0] / math.sqrt(key.shape[-1])
        mixed = (scores.softmax(-1)[..., None] * value).sum(2)
        return stream[:, -1] + mixed.permute(1, 0, 2).flatten(1) @ block.output


class FirstLayerToo(Transformer):
    def forward(self, inputs: Tensor) -> Tensor:
        block = self._blocks[0]
        final, table, rows, weights = self._shared(inputs)
        table = torch.cat([table, table @ block.mlp_in], dim=1)  # (row, embed + width)
        mixed = weighted_rows(table, rows, weights)
        stream, before = mixed.split([len(final), block.mlp_in.shape[1]], dim=1)
        act = torch.relu(before + (final @ block.mlp_in + block.bias_in))
        return (final + stream + act @ block.mlp_out + block.bias_out) @ self.unembed


class Plain(Transformer):
    def forward(self, inputs: Tensor) -> Tensor:
        return self.plain(inputs)


WAYS: dict[str, type[Transformer]] = {
    "plain": Plain,
    "per example": PerExample,
    "shipped": Transformer,
    "shipped, W_in too": FirstLayerToo,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    task, _ = planned(load("task", "modular_addition"), {}, preset="p113")
    torch.manual_seed(0)
    shipped, data = task.model(), task.data("train")
    assert isinstance(shipped, Transformer)
    assert data is not None
    some = torch.randperm(len(data.targets))[:BATCH]

    def full(model: Transformer) -> Tensor:
        return task.loss(model(data.inputs), data.targets).mean()

    def replicas(model: Transformer) -> Tensor:
        many = {name: value.expand(REPLICAS, *value.shape) for name, value in model.named_parameters()}

        def one(parameters: dict[str, Tensor]) -> Tensor:
            return task.loss(functional_call(model, parameters, (data.inputs[some],)), data.targets[some]).mean()

        return vmap(one)(many).sum()

    rows = []
    for what, loss in {"full batch": full, f"{REPLICAS} × {BATCH}": replicas}.items():
        models = {name: as_class(shipped, cls) for name, cls in WAYS.items()}
        check_equal(models, loss)
        times: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(ROUNDS):
            for name, model in models.items():
                times[name].append(seconds(model, loss))
        for name, taken in times.items():
            ratios = [plain / own for plain, own in zip(times["plain"], taken, strict=True)]
            low, middle, high = statistics.quantiles(ratios)
            rows.append(
                [what, name, f"{1e3 * statistics.median(taken):.0f}", f"{middle:.2f} ({low:.2f} to {high:.2f})"]
            )
            print(*rows[-1], sep=" | ", flush=True)
    if options.write:
        threads = torch.get_num_threads()
        note = f"Medians of {ROUNDS} alternating rounds, {threads} threads, float32; quartiles in brackets."
        put_table("transformer forward", ["work", "way", "loss and gradient, ms", "× faster than plain"], rows, note)


def as_class(model: Transformer, cls: type[Transformer]) -> Transformer:
    twin = cls.__new__(cls)
    twin.__dict__ = dict(model.__dict__)
    return twin


def check_equal(models: dict[str, Transformer], loss: Callable[[Transformer], Tensor]) -> None:
    """Losses and gradients in float64 agree to 1e-12."""
    found = []
    for model in models.values():
        model.double()
        model.zero_grad()
        value = loss(model)
        value.backward()
        found.append(torch.cat([value.detach()[None], *(p.grad.flatten() for p in model.parameters())]))
        model.float()
    for name, other in zip(models, found, strict=True):
        assert torch.allclose(found[0], other, rtol=0, atol=1e-12), name


def seconds(model: Transformer, loss: Callable[[Transformer], Tensor]) -> float:
    model.zero_grad()
    start = time.perf_counter()
    loss(model).backward()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
