"""What sampling_speed.py and its children sample: the six rows, their runs and settings, the same for everybody."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from devi.checkpoints.reader import Run, open_run
from devi.plan import TrainingPlan
from devi.tasks.modular_addition import ModularAddition
from devi.tasks.superposition import Superposition
from devi.training import train


class Row(NamedTuple):
    """One row of the table."""

    task: Any
    learning_rate: float
    checkpoints: int
    draws: int
    batch_size: int
    step_size: float
    localization: float
    timed: int  # devi's draws in a timed round; fewer than `draws` weigh what is done once more, against devi
    peer_draws: int  # of one chain in a timed round: each costs the same; enough that it takes a second
    compared: int  # draws of which the mean loss is compared
    goal: float

    def n_beta(self, examples: int) -> float:
        return examples / math.log(examples)


CHAINS = 4
SUPERPOSITION = Superposition(examples=1000)
MLP = ModularAddition(embed=12, width=48)
TRANSFORMER = ModularAddition(architecture="transformer", p=113, embed=128, width=512, train_fraction=0.3)
ROWS = {
    "superposition 6→2, batch 100": Row(SUPERPOSITION, 0.3, 100, 200, 100, 1e-4, 10.0, 200, 400, 200, 350),
    "superposition 6→2, full 1000": Row(SUPERPOSITION, 0.3, 100, 200, 1000, 1e-4, 10.0, 200, 400, 100, 250),
    "MLP p=53, batch 128": Row(MLP, 1e-2, 100, 200, 128, 1e-5, 100.0, 200, 200, 200, 25),
    "MLP p=53, full 1123": Row(MLP, 1e-2, 100, 200, 1123, 1e-5, 100.0, 60, 200, 100, 25),
    "transformer p=113, batch 256": Row(TRANSFORMER, 1e-3, 25, 100, 256, 1e-6, 100.0, 40, 100, 40, 3),
    "transformer p=113, full 3830": Row(TRANSFORMER, 1e-3, 25, 100, 3830, 1e-6, 100.0, 10, 20, 10, 3.5),
}


def run_of(row: Row, folder: Path) -> Run:
    """Checkpoints of a short training; where they stand in it changes no cost."""
    name = f"{type(row.task).__name__}-{getattr(row.task, 'architecture', '')}"
    path = folder / name
    if path.exists():
        return open_run(path, row.task)
    steps = row.checkpoints - 1
    plan = TrainingPlan("AdamW", row.learning_rate, steps=steps, checkpoints="every:1", batch_size=256)
    return train(row.task, path, plan=plan)


class Plain(nn.Module):
    """The transformer as its papers write it: every position is computed for every example."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner.plain(inputs)  # type: ignore[operator]
