"""Stackable: whether seeds of one task can be trained as one `Stack`, found by trying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from devi.errors import DeviError
from devi.sampling.batching import Attempt, attempted
from devi.stack import Stack
from devi.task import settings_of
from devi.training import Trainee

# Each element of a parameter is updated by itself: no norms, factors or searches over whole tensors.
ELEMENTWISE = (
    *("SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax"),
    *("RMSprop", "Rprop", "Adagrad", "Adadelta", "ASGD"),
)
# Seeds together and alone sum in another order at most; any other difference is of the size of the gradient itself.
GRADIENTS_AGREE = 1e-3  # of a tensor's largest entry


def obstacle(runs: Sequence[Trainee]) -> Attempt:
    """Why these seeds cannot be trained at once, if so, found by trying: their gradients together and alone."""
    first = runs[0]
    if any(_but_seed(run) != _but_seed(first) for run in runs):
        return Attempt("they differ in other settings than the seed", [])
    kind = type(first.optimizer)
    if kind.__module__.split(".")[:2] != ["torch", "optim"] or kind.__name__ not in ELEMENTWISE:
        return Attempt(f"optimizer {kind.__name__} is not known to work on each parameter's elements by themselves", [])
    if isinstance(first.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        return Attempt("scheduler ReduceLROnPlateau follows the loss of one seed", [])
    if any(_settings(run.optimizer) != _settings(first.optimizer) for run in runs):
        return Attempt("their optimizers have different settings", [])
    orders = [run.order.get_state() for run in runs]
    tensors = [[*run.model.parameters(), *run.model.buffers()] for run in runs]
    before = [[value.detach().clone() for value in own] for own in tensors]
    try:
        return _same_gradients(runs, orders)
    finally:
        for run, order, own, values in zip(runs, orders, tensors, before, strict=True):
            run.order.set_state(order)
            for tensor, value in zip(own, values, strict=True):
                tensor.data = value
                tensor.grad = None


def _same_gradients(runs: Sequence[Trainee], orders: Sequence[Tensor]) -> Attempt:
    for run in runs:
        run.model.train()
    buffers = [[value.clone() for value in run.model.buffers()] for run in runs]
    random = torch.get_rng_state()
    alone = []
    for run in runs:
        examples = run.batch(0)
        loss = run.task.loss(run.model(examples.inputs), examples.targets).mean()
        moving = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
        alone.append(torch.autograd.grad(loss, moving, allow_unused=True))
    if not torch.equal(random, torch.get_rng_state()):
        return Attempt("the model draws random numbers in training (dropout, for example), each seed its own", [])
    if any(
        not torch.equal(now, value)
        for run, of_run in zip(runs, buffers, strict=True)
        for now, value in zip(run.model.buffers(), of_run, strict=True)
    ):
        return Attempt("the model changes its buffers in training (batch normalization, for example)", [])
    together: list[Tensor | None] = []

    def attempt() -> None:
        for run, order in zip(runs, orders, strict=True):
            run.order.set_state(order)
        stack = Stack(runs)
        together[:] = stack.gradients(stack.batch(0))

    try:
        found = attempted(attempt)
    except DeviError as reason:
        return Attempt(str(reason).partition(";")[0], [])
    if found.obstacle is None:
        for row, of_run in enumerate(alone):
            for own, stacked in zip(of_run, together, strict=True):
                if own is not None and not _agree(own, stacked[row] if stacked is not None else torch.zeros_like(own)):
                    return Attempt(f"seed {runs[row].plan.seed} has another gradient together than alone", [])
    return found


def _agree(alone: Tensor, together: Tensor) -> bool:
    return bool((alone - together).abs().max() <= GRADIENTS_AGREE * alone.abs().max()) if alone.numel() else True


def _but_seed(run: Trainee) -> dict[str, Any]:
    return {**settings_of(run.task), **settings_of(run.plan), "seed": None}


def _settings(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
