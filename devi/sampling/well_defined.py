"""Well defined: whether the losses that are sampled are a function of the parameters and of each example alone.

Looked at on a few examples, beside the last checkpoint. What a model must not do, for no flag would tell of it:
draw random numbers when it is used, go by the other examples of its batch, hold parameters where none can be put in
their place.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from devi.errors import DeviError, Notice, Unsuitable
from devi.memory import is_out_of_memory
from devi.sampling.written_out import with_floats_as
from devi.task import Batch

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run
    from devi.sampling.posterior import Posterior

TRIED = 16  # examples
ASIDE = 0.1  # of the checkpoint, each parameter: where all are 0 nothing that a model does shows
TOLERANCE = 0.01  # of the largest loss: layers in bfloat16 round so much


def check_losses(posterior: Posterior, run: Run) -> None:
    """Raises Unsuitable where they are not, or where there are none in the sampler's precision."""
    last, task = len(run) - 1, type(posterior.task).__name__
    few = posterior.minibatch(torch.linspace(0, posterior.examples - 1, min(TRIED, posterior.examples)).long())
    aside = torch.randn(posterior.dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    place = posterior.centers[-1] + ASIDE * aside.to(posterior.centers)
    fixed = {name: value[-1] for name, value in posterior.fixed.items()}
    model = with_floats_as(run.model_at(last).to(posterior.device), posterior.dtype).eval()

    def own(data: Batch) -> Tensor:
        return posterior.task.loss(model(data.inputs), data.targets)

    try:
        with torch.no_grad():
            own(few)  # what a model keeps of its first use is of the checkpoint then, and shows elsewhere
            state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
            for name, value in posterior.state_of_one(place, fixed).items():
                state[name].copy_(value)
            losses, again, fewer = own(few), own(few), own(Batch(*(part[: -(-len(part) // 2)] for part in few)))
    except Exception as error:
        raise _refusal(error, _no_losses(task, posterior.dtype, error)) from error
    try:
        placed = posterior.losses_of_one(place.requires_grad_(), fixed, few.inputs, few.targets)
        if placed.requires_grad:
            torch.autograd.grad(placed.sum(), place, allow_unused=True)
    except Exception as error:
        raise _refusal(error, f"{_held(task)} ({_first_line(error)})") from error
    if _differ(losses, again):
        raise Unsuitable(
            f"task {task}: its model or loss gives other numbers each time, in eval mode too, and the learning"
            " coefficient is of a loss that the parameters decide. Dropout that is always on?"
            " F.dropout(x, p, training=self.training), or nn.Dropout, is off where a model is used."
        )
    if _differ(losses[: len(fewer)], fewer):
        raise Unsuitable(
            f"task {task}: in its model the loss of an example depends on the other examples of the batch, and that of"
            " a minibatch would be of another function. Statistics of the batch, such as BatchNorm without running"
            " ones? With track_running_stats=True it is used with those of training."
        )
    if _differ(losses, placed.detach()):
        raise Unsuitable(_held(task))


def tell_of_no_float64(posterior: Posterior, reason: Exception) -> None:
    """The notice that losses at the checkpoints are no more exact than those of the chains."""
    rounding = torch.finfo(posterior.dtype).eps / 2
    warnings.warn(
        f"{type(posterior.model).__name__} cannot be computed in float64 ({_first_line(reason)[:160]}); losses"
        f" at the checkpoints are float32, and a headroom of less than {rounding:.0e} × nβ × the loss is rounding.",
        Notice,
        stacklevel=4,
    )


def _differ(one: Tensor, other: Tensor) -> bool:
    largest = float(one.abs().nan_to_num(0, 0, 0).max())
    return not torch.allclose(one, other, rtol=0, atol=TOLERANCE * largest, equal_nan=True)


def _refusal(error: Exception, told: str) -> Exception:
    """The error itself where it says what to do, or where memory ended."""
    return error if isinstance(error, DeviError) or is_out_of_memory(error) else Unsuitable(told)


def _held(task: str) -> str:
    return (
        f"task {task}: its model does not compute with the parameters that are put in the place of its own, as"
        " sampling does. Does it hold some elsewhere, as in a list made in __init__, or keep what it computed from"
        " them? Take them in forward() by their names, self.layer.weight, and change none there. Is it made by"
        " torch.jit? Give the module itself."
    )


def _no_losses(task: str, dtype: torch.dtype, error: Exception) -> str:
    name = str(dtype).removeprefix("torch.")
    other = "float32" if dtype == torch.float64 else "float64"
    return (
        f"task {task}: in {name}, the precision of sampling, its model or loss fails with {_first_line(error)}."
        " Parameters, buffers and data are in that precision; what else forward() and loss() compute with should be"
        " made like them: torch.zeros(…, dtype=inputs.dtype), self.register_buffer('name', …)."
        f" Or try --dtype {other}."
    )


def _first_line(error: Exception) -> str:
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
