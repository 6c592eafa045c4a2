"""How near is each task to what the machine can do? python benchmarks/roofline.py [--rounds N] [--write]

    attainable rate = min(peak, bandwidth · operations / bytes)

peak        the fastest float32 matrix product found, all threads;   bandwidth  of copying memory larger than any cache
operations  those of the matrix products that one gradient really needs (a product once per token, the last position
            alone), 2 for a multiplication and addition, backward twice forward. Nothing elementwise is counted.
bytes       that would move if nothing stayed in a cache: parameters, centers, gradients and noise in a sampler's step
            (a weight's gradient and moments in a training step), and every intermediate result, twice in each direction

A point above its sloped line lives from the cache. `--write` draws benchmarks/roofline.png.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sampling_cases import CHAINS, MLP, ROWS, SUPERPOSITION, TRANSFORMER, Row, run_of
from tables import put_table

from devi.optimizers import make_optimizer
from devi.plan import planned
from devi.report.palette import CYCLE, MARKERS
from devi.sampling.posterior import Posterior
from devi.sampling.record import Plan
from devi.sampling.samplers import kernel_named
from devi.sampling.walk import Walkers
from devi.task import settings_of
from devi.training import update

FIGURE = Path(__file__).with_name("roofline.png")
PASSES = 7  # over the parameters in a sampler's step: position read and written, center, gradient and noise (both)
TRAINING_PASSES = 9  # weight, gradient, two moments, all read and written, and once more the weight
SECONDS = 1.0  # about what the shorter of the two walks takes that are timed for a row in a round
HEADER = (
    "task",
    "operations per step, MFLOP",
    "µs",
    "GFLOP/s",
    "of the matrix peak",
    "operations per byte",
    "bound by",
)


class Work(NamedTuple):
    """Of one gradient of one replica: operations of matrix products, and bytes without a cache."""

    operations: float
    bytes: float


def work_of(task: object, examples: int, passes: int = PASSES) -> Work:
    if task is SUPERPOSITION:
        n, m = SUPERPOSITION.features, SUPERPOSITION.hidden
        parameters, products, results = n * m + n, 2 * examples * n * m, examples * (m + 2 * n)
    elif task is MLP:
        p, e, w = MLP.p, MLP.embed, MLP.width
        parameters = p * e + 2 * (e * w + w) + p * w
        products = 2 * p * e * w + examples * w * p  # the first layer once per residue
        results = examples * (2 * w + 2 * p)
    else:
        p, e, w = TRANSFORMER.p, TRANSFORMER.embed, TRANSFORMER.width
        tokens = 2 * p + 1
        parameters = (p + 1) * e + 3 * e + 4 * e * e + 2 * e * w + w + e + e * (p + 1)
        products = 2 * tokens * e * e + examples * (2 * e * w + e * (p + 1))  # values once per token; see the model
        results = examples * (3 * TRANSFORMER.heads * e + 2 * e + w + 2 * (p + 1))
    return Work(3 * 2 * products, 4 * (passes * parameters + 4 * results))


def best(action: Callable[[], object], seconds: float = 0.5) -> float:
    """The shortest time that `action` took."""
    action()  # its memory is now there
    found, until = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        action()
        found = min(found, time.perf_counter() - began)
    return found


def peak() -> float:
    """FLOP/s of the fastest float32 matrix product."""
    rates = []
    for size in (512, 1024, 2048):
        one, other, out = (torch.randn(size, size) for _ in range(3))
        rates.append(2 * size**3 / best(lambda a=one, b=other, c=out: torch.mm(a, b, out=c)))
    return max(rates)


def bandwidth() -> float:
    """Bytes/s of copying, read and written."""
    source = torch.randn(32 * 2**20)
    target = torch.empty_like(source)
    return 2 * 4 * source.numel() / best(lambda: target.copy_(source), 1.5)


class Sampling:
    """Chains of one row, some checkpoints of it: enough to fill every thread."""

    def __init__(self, row: Row, folder: Path) -> None:
        run = run_of(row, folder)
        run = run.block(0, min(len(run), 8 if row.task is TRANSFORMER else 100))
        posterior = Posterior(run)
        rows = torch.arange(len(run)).repeat_interleave(CHAINS)
        keys = [(int(step), chain) for step in run.steps for chain in range(CHAINS)]
        steps, pull = (torch.full((len(rows), 1), value) for value in (row.step_size, row.localization))
        plan = Plan(steps, row.n_beta(posterior.examples), pull, 0, row.batch_size, 0)
        self.new, self.replicas = lambda: Walkers(posterior, kernel_named("sgld"), rows, keys, plan), len(rows)

    def walked(self, draws: int) -> float:
        """Seconds of so many draws, with what comes before and after."""
        walkers = self.new()
        began = time.perf_counter()
        walkers.advance(draws)
        return time.perf_counter() - began

    def step(self, draws: int) -> float:
        """Seconds of one step and chain."""
        return (self.walked(3 * draws) - self.walked(draws)) / (2 * draws * self.replicas)


def training(steps: int = 4) -> float:
    """Seconds of one step of the transformer on its full batch."""
    plan = planned(type(TRANSFORMER), settings_of(TRANSFORMER))[1]
    torch.manual_seed(0)
    model, data = TRANSFORMER.model(), TRANSFORMER.data("train")
    assert data is not None
    optimizer = make_optimizer(TRANSFORMER, plan, model)
    update(TRANSFORMER, model, optimizer, data)
    began = time.perf_counter()
    for _ in range(steps):
        update(TRANSFORMER, model, optimizer, data)
    return (time.perf_counter() - began) / steps


def draw(points: dict[str, tuple[Work, float]], top: float, memory: float, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 4.8), layout="constrained")
    across = np.geomspace(0.3, 300, 200)
    axes.plot(across, np.minimum(top, memory * across) / 1e9, color="0.25")
    axes.annotate(f"matrix peak {top / 1e9:.0f} GFLOP/s", (290, top / 1e9 * 1.1), ha="right", color="0.25")
    axes.annotate(f"memory {memory / 1e9:.0f} GB/s", (0.33, memory * 0.33 / 1e9 * 1.6), color="0.25", rotation=38)
    for place, (name, (work, seconds)) in enumerate(points.items()):
        at = work.operations / work.bytes, work.operations / seconds / 1e9
        style = {"color": CYCLE[place], "markersize": 9, "markeredgecolor": "white", "zorder": 9 - place}
        if name.startswith("training"):  # the same work as sampling on the full batch, so at nearly the same place
            style |= {"markersize": 14, "markerfacecolor": "none", "markeredgecolor": CYCLE[place]}
        axes.plot(*at, "o" if name.startswith("training") else MARKERS[place], label=name, **style)
    axes.set(xscale="log", yscale="log", xlim=(0.3, 300), ylim=(1, 2 * top / 1e9))
    axes.set_xlabel("operations per byte without a cache (FLOP/byte)")
    axes.set_ylabel("rate of the operations really needed (GFLOP/s)")
    axes.grid(visible=True, which="major", color="0.9")
    axes.legend(loc="lower right", fontsize=8, frameon=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--draw", type=Path, help="the figure alone, to this file")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    works = {name: work_of(row.task, row.batch_size) for name, row in ROWS.items()}
    train = "training, transformer p=113, full"
    works[train] = work_of(TRANSFORMER, ROWS["transformer p=113, full 3830"].batch_size, TRAINING_PASSES)
    seconds: dict[str, list[float]] = {name: [] for name in works}
    tops, memories = [], []
    with tempfile.TemporaryDirectory() as scratch:
        walks = {name: Sampling(row, Path(scratch)) for name, row in ROWS.items()}
        draws = {name: max(2, int(SECONDS / walk.walked(20) * 20)) for name, walk in walks.items()}
        for _ in range(options.rounds):
            tops.append(peak())
            memories.append(bandwidth())
            for name, walk in walks.items():
                seconds[name].append(walk.step(draws[name]))
            seconds[train].append(training())
    top, memory = max(tops), max(memories)
    rows = []
    for name, work in works.items():
        taken = np.array(seconds[name])
        rates = work.operations / taken
        bound = "memory, without a cache" if memory * work.operations / work.bytes < top else "arithmetic"
        rows.append([
            name, f"{work.operations / 1e6:,.3g}", f"{1e6 * np.median(taken):,.3g}", f"{np.median(rates) / 1e9:.0f}",
            f"{100 * np.median(rates) / top:.0f}% ({100 * min(rates) / top:.0f} to {100 * max(rates) / top:.0f})",
            f"{work.operations / work.bytes:.1f}", bound,
        ])  # fmt: skip
    found = f"Matrix peak {top / 1e9:.0f} GFLOP/s, memory {memory / 1e9:.0f} GB/s, {torch.get_num_threads()} threads"
    print(found)
    for line in (HEADER, *rows):
        print(*line, sep=" | ")
    if options.write or options.draw:
        path = options.draw or FIGURE
        draw({name: (work, float(np.median(seconds[name]))) for name, work in works.items()}, top, memory, path)
    if options.write:
        put_table(
            "roofline", HEADER, rows,
            f"{found}, load {os.getloadavg()[0]:.1f} at the end. Sampling: a step of one chain with its noise and"
            f" record, without what comes before and after; medians of {options.rounds} rounds, minimum and maximum.",
        )  # fmt: skip


if __name__ == "__main__":
    main()
