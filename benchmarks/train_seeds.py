"""16 seeds at once against one after another: python benchmarks/train_seeds.py [--rounds N] [--write]

The time of a training step per seed, between the first steps and the last of `devi.seeds.train_seeds` and of
`devi.training.train`, checkpoints not counted but at both ends. In turn: at once, alone with the threads that torch
takes by itself, alone on one thread. Alone, 2 of the 16 seeds are trained in each round: each costs the same. At once
and alone on one thread must give the same to the last bit, but in the transformer p=43 (see `devi.seeds`): the script
ends with an error where they do not.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tables import put_table

from devi.checkpoints.reader import Run
from devi.plan import planned
from devi.seeds import Wanted, train_seeds
from devi.task import settings_of
from devi.tasks.modular_addition import ModularAddition
from devi.tasks.superposition import Superposition
from devi.training import train

SEEDS = 16
WARM = 10  # steps before the clock starts
CASES: dict[str, tuple[Any, int]] = {
    "MLP p=53, embed 12, width 48, full batch": (ModularAddition(embed=12, width=48), 60),
    "MLP p=53, embed 12, width 48, batch 128": (ModularAddition(embed=12, width=48, batch_size=128), 100),
    "MLP p=53 as shipped (32, 128), full batch": (ModularAddition(), 30),
    "superposition as shipped, batch 128": (Superposition(), 200),
    "transformer p=43, full batch": (
        ModularAddition(architecture="transformer", p=43, embed=64, learning_rate=5e-3, train_fraction=0.5), 12
    ),
}  # fmt: skip


class Clock:
    """Seconds from the first call at WARM steps of all seeds to the last call."""

    def __init__(self, seeds: int) -> None:
        self.seeds, self.began, self.ended, self.first, self.last = seeds, 0.0, 0.0, 0, 0

    def __call__(self, done: int, total: int) -> None:
        self.ended, self.last = time.perf_counter(), done
        if not self.began and done >= WARM * self.seeds:
            self.began, self.first = self.ended, done

    @property
    def per_seed(self) -> float:
        """Seconds of one step of one seed."""
        return (self.ended - self.began) / (self.last - self.first)


def wanted(task: Any, steps: int, folder: Path, seeds: range) -> list[Wanted]:
    ends = f"0,{steps}"
    runs = []
    for seed in seeds:
        own = replace(task, seed=seed, steps=steps, checkpoints=ends)
        runs.append(Wanted(own, planned(type(own), settings_of(own))[1], folder / f"seed{seed}"))
    return runs


def at_once(task: Any, steps: int, folder: Path) -> tuple[float, list[Run]]:
    clock = Clock(SEEDS)
    runs = train_seeds(wanted(task, steps, folder, range(SEEDS)), name="bench", progress=clock)
    return clock.per_seed, runs


def alone(task: Any, steps: int, folder: Path, seeds: range, threads: int) -> tuple[float, list[Run]]:
    before, seconds, runs = torch.get_num_threads(), [], []
    torch.set_num_threads(threads)
    try:
        for own, plan, path in wanted(task, steps, folder, seeds):
            clock = Clock(1)
            runs.append(train(own, path, plan=plan, name="bench", progress=clock))
            seconds.append(clock.per_seed)
    finally:
        torch.set_num_threads(before)
    return float(np.mean(seconds)), runs


IN_ANOTHER_ORDER = ("transformer p=43, full batch",)  # torch's batched products sum two gradients otherwise


def farthest(some: list[Run], others: list[Run]) -> float:
    """The largest difference of a parameter at the end."""
    return max(
        float(np.abs(values[-1] - other.parameters()[name][-1]).max())
        for one, other in zip(some, others, strict=True)
        for name, values in one.parameters().items()
    )


def spread(values: list[float], shown: Callable[[float], str]) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{shown(middle)} ({shown(low)} to {shown(high)})"


def measured(name: str, rounds: int) -> list[str]:
    task, steps = CASES[name]
    threads = torch.get_num_threads()
    together, by_default, on_one, difference = [], [], [], 0.0
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(rounds):
            place, some = Path(scratch) / str(number), range(2 * number % SEEDS, 2 * number % SEEDS + 2)
            seconds, runs = at_once(task, steps, place / "at once")
            together.append(seconds)
            by_default.append(alone(task, steps, place / "alone", some, threads)[0])
            seconds, single = alone(task, steps, place / "one thread", some, 1)
            on_one.append(seconds)
            difference = max(difference, farthest([runs[seed] for seed in some], single))
    if difference and name not in IN_ANOTHER_ORDER:
        raise SystemExit(f"{name}: seeds trained at once differ by {difference:.0e} from the same trained alone.")
    best = np.minimum(by_default, on_one)

    def microseconds(value: float) -> str:
        return f"{1e6 * value:,.0f}"

    return [
        name, spread(together, microseconds), spread(by_default, microseconds), spread(on_one, microseconds),
        spread(list(best / np.array(together)), lambda ratio: f"{ratio:.1f}"),
        spread(list(np.array(by_default) / np.array(together)), lambda ratio: f"{ratio:.1f}"), f"{difference:.0e}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--case", choices=list(CASES), action="append")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    header = [
        "task", "16 at once, µs per step and seed", f"alone, {torch.get_num_threads()} threads", "alone, 1 thread",
        "× faster than the better of the two", "× faster than alone as it comes", "largest difference",
    ]  # fmt: skip
    print(*header, sep=" | ", flush=True)
    rows = []
    for name in options.case or CASES:
        rows.append(measured(name, options.rounds))
        print(*rows[-1], sep=" | ", flush=True)
    if options.write:
        put_table(
            "train seeds", header, rows, f"Medians of {options.rounds} alternating rounds, quartiles in brackets."
        )


if __name__ == "__main__":
    main()
