"""Would torch.compile pay? python benchmarks/compile_gain.py [--write]    needs a C++ compiler

The gradient of one group of replicas, four ways that must agree: by autograd under vmap, the same compiled, by the
task's own formulas as sampling uses them, and these compiled. One thread, processor time; compilation counted apart.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sampling_cases import ROWS
from sampling_profile import microseconds, run_of
from tables import put_table
from torch import Tensor
from torch.func import functional_call, grad, vmap

from devi.sampling.posterior import Posterior

NAMES = ("superposition 6→2, batch 100", "MLP p=53, batch 128")
HEADER = ("row", "way", "µs per replica", "× autograd", "seconds to compile")


def measured(name: str, folder: Path) -> list[list[str]]:
    row = ROWS[name]
    run = run_of(row, folder)
    posterior = Posterior(run.block(0, min(len(run), 64)))
    replicas = min(posterior.replicas_at_once(row.batch_size), 4 * len(posterior.centers))
    rows = torch.arange(replicas) % len(posterior.centers)
    flat, data = posterior.centers[rows], posterior.minibatch(torch.arange(row.batch_size))
    model, task, own = posterior.model, row.task, posterior.replicas
    assert own is not None

    def views(some: Tensor) -> dict[str, Tensor]:
        parts = zip(posterior.names, some.split(posterior.sizes, -1), posterior.shapes, strict=True)
        return {each: part.reshape(*some.shape[:-1], *shape) for each, part, shape in parts}

    def loss(one: Tensor) -> Tensor:
        return task.loss(functional_call(model, views(one), (data.inputs,)), data.targets).mean()

    def derived(some: Tensor) -> Tensor:
        return vmap(grad(loss))(some)

    def written(some: Tensor) -> Tensor:
        found = own(views(some), data.inputs, data.targets, gradients=True)[1]
        return torch.cat([found[each].flatten(1) for each in posterior.names], dim=1) / len(data.targets)

    def by_posterior(some: Tensor) -> Tensor:
        kept, posterior.replicas = posterior.replicas, None
        try:
            return posterior.loss_and_gradient(some, posterior.fixed_at(rows), data)[1]
        finally:
            posterior.replicas = kept

    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "autograd": by_posterior, "vmap of grad, compiled": torch.compile(derived), "written out": written,
        "written out, compiled": torch.compile(written),
    }  # fmt: skip
    expected, cells, usual = by_posterior(flat), [], 0.0
    for way, action in ways.items():
        began = time.perf_counter()
        off = float((action(flat) - expected).abs().max() / expected.abs().max())
        first = time.perf_counter() - began
        assert off < 1e-3, f"{name}, {way}: off by {off:.1e}"
        taken = microseconds(lambda action=action: action(flat), replicas)
        usual = usual or float(np.median(taken))
        cells.append([
            name, way, f"{np.median(taken):,.3g} ({min(taken):,.3g} to {max(taken):,.3g})",
            f"{usual / np.median(taken):.1f}", f"{first:.0f}" if "compiled" in way else "-",
        ])  # fmt: skip
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        rows = [cells for name in NAMES for cells in measured(name, Path(scratch))]
    for line in (HEADER, *rows):
        print(*line, sep=" | ")
    if options.write:
        put_table("compile gain", HEADER, rows, "Processor time, one thread; medians of 5 rounds, minimum and maximum.")


if __name__ == "__main__":
    main()
