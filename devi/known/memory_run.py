"""MemoryRun: a run whose checkpoints are held in memory, for estimates at points that no training wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from devi.task import Task


class MemoryRun:
    """What metrics and sampling read of `devi.Run`, over parameters {name: (step, *shape)} and buffers likewise."""

    def __init__(
        self, task: Task, parameters: Mapping[str, Any], steps: Any = None, buffers: Mapping[str, Any] | None = None
    ) -> None:
        self.task = task
        self._parameters = {name: _read_only(values) for name, values in parameters.items()}
        self._buffers = {name: _read_only(values) for name, values in (buffers or {}).items()}
        count = len(next(iter(self._parameters.values())))
        self.steps = np.arange(count, dtype=np.int64) if steps is None else np.asarray(steps, dtype=np.int64)
        self.whole, self.start = self, 0

    @classmethod
    def of(cls, task: Task, models: Sequence[nn.Module], steps: Any = None) -> MemoryRun:
        """A run whose checkpoints are these models."""
        return cls.of_states(task, [{k: v.detach().numpy() for k, v in m.state_dict().items()} for m in models], steps)

    @classmethod
    def of_states(cls, task: Task, states: Sequence[Mapping[str, Any]], steps: Any = None) -> MemoryRun:
        """A run whose checkpoints are these state dictionaries."""
        with torch.random.fork_rng():
            names = [name for name, _ in task.model().named_parameters()]
        stacked = {name: np.stack([state[name] for state in states]) for name in states[0]}
        buffers = {name: values for name, values in stacked.items() if name not in names}
        return cls(task, {name: stacked[name] for name in names}, steps, buffers)

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def scalars(self) -> xr.Dataset:
        return xr.Dataset(coords={"step": self.steps})

    @property
    def states(self) -> list[dict[str, np.ndarray]]:
        """The state dictionary of each checkpoint, as copies."""
        both = {**self._parameters, **self._buffers}
        return [{name: np.array(values[index]) for name, values in both.items()} for index in range(len(self))]

    def parameters(self, which: slice | int = slice(None)) -> dict[str, np.ndarray]:
        return {name: values[which] for name, values in self._parameters.items()}

    def buffers(self, which: slice | int = slice(None)) -> dict[str, np.ndarray]:
        return {name: values[which] for name, values in self._buffers.items()}

    def model_at(self, index: int) -> nn.Module:
        with torch.random.fork_rng():
            model = self.task.model()
        model.load_state_dict({name: torch.from_numpy(value) for name, value in self.states[index].items()})
        return model.eval()

    def select(self, indices: Any) -> MemoryRun:
        """The checkpoints at these places, as a run of their own."""
        chosen = np.asarray(indices)
        parameters = {name: values[chosen] for name, values in self._parameters.items()}
        buffers = {name: values[chosen] for name, values in self._buffers.items()}
        return MemoryRun(self.task, parameters, self.steps[chosen], buffers)

    def block(self, start: int, end: int) -> MemoryRun:
        """Checkpoints `start` to `end`, as a part that knows its whole."""
        part = self.select(np.arange(start, end))
        part.whole, part.start = self.whole, self.start + start
        return part


def _read_only(values: Any) -> np.ndarray:
    """A copy that nothing can write to: what a run hands out is a view of its file."""
    own = np.array(values)
    own.flags.writeable = False
    return own
