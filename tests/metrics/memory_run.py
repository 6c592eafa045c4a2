"""A run held in memory, for tests of metrics: what they read of `devi.checkpoints.reader.Run`, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import nn

from devi.task import Task


class MemoryRun:
    def __init__(self, task: Task, steps: Sequence[int], states: Sequence[dict[str, np.ndarray]]) -> None:
        self.task = task
        self.steps = np.asarray(steps, dtype=np.int64)
        self.states = list(states)
        self.whole = self
        self.start = 0

    @classmethod
    def of(cls, task: Task, models: Sequence[nn.Module], steps: Sequence[int] | None = None) -> MemoryRun:
        states = [{k: v.detach().numpy().copy() for k, v in model.state_dict().items()} for model in models]
        return cls(task, range(len(states)) if steps is None else steps, states)

    def __len__(self) -> int:
        return len(self.states)

    def block(self, start: int, stop: int) -> MemoryRun:
        part = MemoryRun(self.task, self.steps[start:stop], self.states[start:stop])
        part.whole, part.start = self.whole, self.start + start
        return part

    def parameters(self, which: slice | int) -> dict[str, np.ndarray]:
        return self._stacked(which, dict(self.task.model().named_parameters()))

    def buffers(self, which: slice | int) -> dict[str, np.ndarray]:
        return self._stacked(which, dict(self.task.model().named_buffers()))

    @property
    def scalars(self) -> xr.Dataset:
        return xr.Dataset(coords={"step": self.steps})

    def model_at(self, index: int) -> nn.Module:
        model = self.task.model()
        model.load_state_dict({name: torch.tensor(values) for name, values in self.states[index].items()})
        return model.eval()

    def _stacked(self, which: slice | int, names: dict) -> dict[str, np.ndarray]:
        if isinstance(which, slice):
            found = {name: np.stack([state[name] for state in self.states[which]]) for name in names}
        else:
            found = {name: self.states[which][name] for name in names}
        for values in found.values():
            values.flags.writeable = False  # as a memory map is
        return found


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
    return MemoryRun(task, sorted(set(steps)), states)
