"""Where does a sampler's step spend its time? python benchmarks/sampling_profile.py [--write]

The processor's time of one thread, by what it is spent on, for the six rows of sampling_speed.py: one group of replicas
as `Walkers` makes them, its gradient by the task's own formulas and by autograd, and what comes with every step.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sampling_cases import ROWS, Row, run_of
from tables import put_table

from devi.sampling.chunk import Chunk
from devi.sampling.noise import Noise
from devi.sampling.posterior import Posterior
from devi.sampling.record import Plan
from devi.sampling.samplers import kernel_named

ROUNDS, SECONDS = 5, 0.3
HEADER = (
    "row", "replicas together", "whole step, µs", "gradient", "the same by autograd", "noise", "record, a visited draw",
)  # fmt: skip


def microseconds(action: Callable[[], object], replicas: int) -> list[float]:
    """Processor time of `action` for one replica, in several rounds."""
    action()
    began = time.process_time()
    action()
    times = max(1, int(SECONDS / max(time.process_time() - began, 1e-6)))
    found = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(times):
            action()
        found.append(1e6 * (time.process_time() - began) / times / replicas)
    return found


def chunk_of(row: Row, folder: Path) -> tuple[Posterior, Chunk]:
    """One group of replicas as `Walkers` makes them, after its first step."""
    run = run_of(row, folder)
    run = run.block(0, min(len(run), 64))
    posterior = Posterior(run)
    replicas = min(posterior.replicas_at_once(row.batch_size), 4 * len(run))
    rows = torch.arange(replicas) % len(run)
    steps, pull = (torch.full((replicas, 1), value) for value in (row.step_size, row.localization))
    plan = Plan(steps, row.n_beta(posterior.examples), pull, 0, row.batch_size, 0)
    keys = [(0, number) for number in range(replicas)]
    chunk = Chunk(posterior, kernel_named("sgld"), rows, keys, plan, None)
    chunk.advance(posterior, 1, lambda share: None)
    return posterior, chunk


def measured(name: str, row: Row, folder: Path) -> list[str]:
    posterior, chunk = chunk_of(row, folder)
    replicas = len(chunk.center)
    keys = [(0, number) for number in range(replicas)]
    some = torch.randperm(posterior.examples, generator=torch.Generator().manual_seed(0))[: row.batch_size]
    data = posterior.data if chunk.is_full else posterior.minibatch(some)
    noise = Noise(0, keys, posterior.dimension, posterior.centers)

    def gradient() -> torch.Tensor:
        return posterior.loss_and_gradient(chunk.center, chunk.fixed, data)[1]

    def record() -> None:
        chunk.excess.clear()  # a draw that is visited
        chunk._record(posterior)

    taken = [microseconds(lambda: chunk._step(posterior), replicas), microseconds(gradient, replicas)]
    written, posterior.replicas = gradient(), None
    taken.append(microseconds(gradient, replicas))
    off = float((gradient() - written).abs().max() / written.abs().max())
    assert off < 1e-4, f"{name}: gradients differ by {off:.1e} of the largest entry"
    taken += [microseconds(noise.next, replicas), microseconds(record, replicas)]
    cells = [f"{np.median(each):,.3g} ({min(each):,.3g} to {max(each):,.3g})" for each in taken]
    return [name, str(replicas), *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        rows = [measured(name, row, Path(scratch)) for name, row in ROWS.items()]
    for line in (HEADER, *rows):
        print(*line, sep=" | ")
    if options.write:
        put_table(
            "sampling profile", HEADER, rows,
            f"µs of processor time of one replica, one thread; medians of {ROUNDS} rounds, minimum and maximum.",
        )  # fmt: skip


if __name__ == "__main__":
    main()
