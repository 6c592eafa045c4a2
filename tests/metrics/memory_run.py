"""Runs held in memory, for tests of metrics: of random and of trained models."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from devi.known.memory_run import MemoryRun
from devi.task import Task


def random_run(task: Task, checkpoints: int, *, seed: int = 0) -> MemoryRun:
    """A run of independent initializations."""
    models = []
    with torch.random.fork_rng():
        for index in range(checkpoints):
            torch.manual_seed(1000 * seed + index)
            models.append(task.model())
    return MemoryRun.of(task, models, steps=[10 * index for index in range(checkpoints)])


def trained_run(task: Task, steps: Sequence[int], *, seed: int = 0) -> MemoryRun:
    """Full-batch AdamW by the task's own settings, kept at `steps`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = task.model()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=task.learning_rate, weight_decay=task.weight_decay, betas=task.betas
    )
    inputs, targets = task.data("train")
    states = []
    for step in range(max(steps) + 1):
        if step in set(steps):
            states.append({name: values.detach().numpy().copy() for name, values in model.state_dict().items()})
        optimizer.zero_grad()
        task.loss(model(inputs), targets).mean().backward()
        optimizer.step()
    return MemoryRun.of_states(task, states, sorted(set(steps)))
