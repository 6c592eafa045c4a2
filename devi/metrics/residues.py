"""All pairs of residues in the order the Fourier metrics need: by s = a ± b mod p, then by a."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from devi.contract import examples
from devi.errors import DeviError

if TYPE_CHECKING:
    from devi.task import Task

OPERATIONS = {"add": 1, "subtract": -1}


class Residues(NamedTuple):
    """Pair (s, a) stands at place s·p + a, so outputs viewed as (p, p, class) have axes (s, a, class)."""

    p: int
    inputs: Tensor  # (pair, 2)
    targets: Tensor  # (pair,), −1 for a pair that is in no split
    train: Tensor  # (pair,) bool
    test: Tensor  # (pair,) bool
    grid: Tensor  # (pair,): place of pair (a, b) in reading order a·p + b

    @property
    def sums(self) -> Tensor:
        """s of each place, (pair,)."""
        return torch.arange(self.p**2) // self.p


def residues_of(task: Task) -> Residues:
    """The pairs of a task with integer `p` and `operation` "add" or "subtract" whose inputs are pairs (a, b).

    Targets are those of the task's splits, shuffled or not. Raises DeviError for any other task.
    """
    p, operation = getattr(task, "p", None), getattr(task, "operation", None)
    if not isinstance(p, int) or operation not in OPERATIONS:
        raise DeviError(
            f"fourier: task {type(task).__name__} has p={p!r} and operation={operation!r}; this metric reads functions"
            f" of a + b or a − b mod p, so it expects an integer p and operation 'add' or 'subtract'."
            f" Leave the metric 'fourier' out, or give your task these two settings."
        )
    sign = OPERATIONS[operation]
    s, a = torch.arange(p).repeat_interleave(p), torch.arange(p).repeat(p)
    b = (sign * (s - a)) % p
    targets = torch.full((p * p,), -1)
    member = {}
    for split in ("train", "test"):
        member[split] = torch.zeros(p * p, dtype=torch.bool)
        batch = examples(task, split)
        if batch is None:
            continue
        if batch.inputs.ndim != 2 or batch.inputs.shape[1] < 2 or batch.inputs[:, :2].max() >= p:
            raise DeviError(
                f"fourier: the {split} inputs of task {type(task).__name__} have shape {tuple(batch.inputs.shape)};"
                f" expected (example, 2), residues a and b below p={p}. Leave the metric 'fourier' out."
            )
        first, second = batch.inputs[:, 0], batch.inputs[:, 1]
        place = ((first + sign * second) % p) * p + first
        targets[place] = batch.targets
        member[split][place] = True
    left, right = torch.meshgrid(torch.arange(p), torch.arange(p), indexing="ij")
    grid = (((left + sign * right) % p) * p + left).flatten()
    return Residues(p, torch.stack([a, b], dim=1), targets, member["train"], member["test"], grid)
