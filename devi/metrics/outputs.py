"""Outputs of a run's model at many checkpoints: every checkpoint of a chunk in one batched forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from devi.contract import one_tensor

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run

MEMORY = 64 * 2**20  # bytes a chunk may make; larger chunks leave the processor's cache and gain nothing
PROBE = 512  # examples of the forward pass whose bytes are counted
AGREEMENT = 1e-4  # of the largest output: far above float32 rounding, far below a wrong weight's effect


class Outputs(NamedTuple):
    """One chunk. Within a chunk of checkpoints all examples come before the next checkpoints."""

    checkpoints: slice  # places within the block of the run that was given
    examples: slice
    values: Tensor  # (checkpoint, example, ...)


@torch.no_grad()
def outputs(
    run: Run,
    inputs: Tensor,
    *,
    method: str = "forward",
    device: str = "cpu",
    memory: int = MEMORY,
    split_examples: bool = True,
) -> Iterator[Outputs]:
    """`model.method(inputs)` at every checkpoint of `run`, in chunks that make about `memory` bytes each.

    inputs (example, ...). Uses vmap over checkpoints where it agrees with a plain call; any other model (one whose
    control flow depends on values, or that keeps a second reference to its weights) is called checkpoint by
    checkpoint. `split_examples=False` gives all examples in every chunk.
    Raises Unsuitable if the model returns something else than a Tensor (example, ...).
    """
    inputs = inputs.to(device)
    probe = inputs[:PROBE]
    template = _Method(run.model_at(0).to(device), method)
    per_example = _bytes_made(template, probe, run) / len(probe)
    width = min(len(inputs), max(1, int(memory / per_example))) if split_examples else len(inputs)
    count = min(len(run), max(1, int(memory / (per_example * width))))
    together = count > 1 and _agrees(template, run, slice(0, count), probe[:width], device)
    for start in range(0, len(run), count):
        checkpoints = slice(start, min(start + count, len(run)))
        call = (_all_at_once if together else _one_by_one)(template, run, checkpoints, device)
        for first in range(0, len(inputs), width):
            examples = slice(first, min(first + width, len(inputs)))
            yield Outputs(checkpoints, examples, call(inputs[examples]))


def as_tensors(arrays: Mapping[str, np.ndarray], device: str = "cpu") -> dict[str, Tensor]:
    """Copies: what a run gives may be a read-only view of a file."""
    return {name: torch.tensor(np.asarray(array), device=device) for name, array in arrays.items()}


def _all_at_once(template: _Method, run: Run, checkpoints: slice, device: str) -> Callable[[Tensor], Tensor]:
    state = as_tensors({**run.parameters(checkpoints), **run.buffers(checkpoints)}, device)
    state = {f"model.{name}": values for name, values in state.items()}
    return lambda x: vmap(lambda one: functional_call(template, one, (x,)))(state)


def _one_by_one(template: _Method, run: Run, checkpoints: slice, device: str) -> Callable[[Tensor], Tensor]:
    places = range(checkpoints.start, checkpoints.stop)
    models = [_Method(run.model_at(place).to(device), template.method) for place in places]
    return lambda x: torch.stack([model(x) for model in models])


def _agrees(template: _Method, run: Run, checkpoints: slice, inputs: Tensor, device: str) -> bool:
    """Whether the batched call works and gives what the chunk's last checkpoint gives by itself.

    A model that also holds its weights elsewhere (in a plain list, say) would answer with the template's weights,
    silently; the template is the first checkpoint, so the last one shows it.
    """
    last = slice(checkpoints.stop - 1, checkpoints.stop)
    alone = _one_by_one(template, run, last, device)(inputs)[0]
    try:
        batched = _all_at_once(template, run, checkpoints, device)(inputs)[-1]
    except Exception:  # whatever vmap dislikes; an error of the model itself comes back from the plain call
        return False
    if batched.shape != alone.shape:
        return False
    tolerance = AGREEMENT * float(alone.abs().nan_to_num(0, 0, 0).max()) if alone.is_floating_point() else 0.0
    return torch.allclose(batched, alone, rtol=0, atol=tolerance, equal_nan=True)


class _Method(nn.Module):
    """`model.method` as a module's forward, which is what functional_call can call."""

    def __init__(self, model: nn.Module, method: str) -> None:
        super().__init__()
        self.model = model
        self.method = method

    def forward(self, inputs: Tensor) -> Any:
        return getattr(self.model, self.method)(inputs)


def _bytes_made(model: _Method, inputs: Tensor, run: Run) -> int:
    """Bytes of all tensors that one forward pass makes: an upper bound on what it holds at once."""
    with _Tally() as tally:
        values = model(inputs)
    one_tensor(run.task, f"model.{model.method}", values, inputs)
    return max(1, tally.bytes)


class _Tally(TorchDispatchMode):
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it torch imports its compiler, which takes longer than most metrics

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for value in made if isinstance(made, tuple | list) else [made]:
            if isinstance(value, Tensor):
                self.bytes += value.numel() * value.element_size()
        return made
