"""The three runs whose checkpoints are timed: 18, about 10,000 and about 230,000 parameters, in training."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from devi.optimizers import make_optimizer
from devi.plan import planned
from devi.plugins import builtin_task
from devi.training import minibatch, seeded, update


class Case(NamedTuple):
    task: str
    settings: dict[str, Any]
    count: int
    most: float  # the goal: share of a training step, %


# All with full batches and Adam. Superposition with 1,000 fixed examples, as Chen et al. 2023 (arXiv:2310.06301).
CASES = [
    Case("superposition", {"optimizer": "Adam", "learning_rate": 1e-3, "examples": 1000, "batch_size": 0}, 10_000, 3),
    Case("modular_addition", {"embed": 24, "width": 84, "optimizer": "Adam"}, 2_000, 3),
    Case("modular_addition", {"preset": "p113", "optimizer": "Adam"}, 500, 8),
]


class Trained:
    """A model in training, a step at a time."""

    def __init__(self, case: Case) -> None:
        settings = dict(case.settings)
        cls = builtin_task(case.task)
        assert cls is not None
        self.task, plan = planned(cls, settings, preset=settings.pop("preset", None))
        with seeded(0):
            self.model = self.task.model()
        self.optimizer = make_optimizer(self.task, plan, self.model)
        self.order = torch.Generator().manual_seed(0)
        self._train, self._size = self.task.data("train"), plan.batch_size
        self.parameter_count = sum(parameter.numel() for parameter in self.model.parameters())

    def step(self, number: int) -> float:
        batch = self.task.batch(number, self.order) or minibatch(self._train, self._size, self.order)
        return update(self.task, self.model, self.optimizer, batch)

    def states(self, count: int) -> list[dict[str, Tensor]]:
        """The parameters after each of `count` steps, copied."""
        copies = []
        for number in range(count):
            self.step(number)
            copies.append({name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()})
        return copies
