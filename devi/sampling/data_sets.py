"""Data sets by name: a split of the task, or what a function of the user's own returns.

train · test             a split of the task
file.py:name · pkg.mod:name   a function without arguments that returns a devi.Batch
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from devi.checkpoints.provenance import batch_hash
from devi.contract import checked_batch, examples, own_code
from devi.errors import DeviError, Unsuitable, unknown_name
from devi.memory import is_out_of_memory
from devi.plugins import load_function
from devi.sampling.written_out import floats_as
from devi.task import Batch, Task

SPLITS = ("train", "test")
EXPECTED = "expected a function without arguments that returns a devi.Batch(inputs, targets)"
TRIED = 16  # examples that go through the model before anything is sampled
# What each function returned first, as its digest, by the function's id: it need not have a hash. The function is kept,
# so that no other gets its id.
_MADE: dict[int, tuple[Callable[[], Any], str]] = {}


def data_set(task: Task, name: str, model: nn.Module | None = None) -> Batch:
    """The examples of that name.

    model  where it is given, it must take them: a model of the task, all of its real numbers of one precision
    Raises DeviError if there are none, or if what there is cannot take the place of the task's own examples.
    """
    if ":" in name:
        batch = own_data_set(name)
        _check_like(batch, examples(task, "train"), name)
        if model is not None:
            _check_fits(batch, task, model, name)
        return batch
    if name not in SPLITS:
        raise DeviError(f"{unknown_name('split', name, SPLITS)} A data set of your own: file.py:name.")
    batch_or_none = examples(task, "test" if name == "test" else "train")
    if batch_or_none is None and name == "test":  # which is looked for only where it is asked for
        raise DeviError(
            f"task {type(task).__name__}: data('test') has no examples. Leave out what asks for them, --observe test or"
            " --sample-on test, or return a Batch(inputs, targets) from it."
        )
    if batch_or_none is None:
        raise Unsuitable(
            f"task {type(task).__name__}: data('{name}') has no examples, and the learning coefficient is"
            f" defined by them; return a Batch(inputs, targets) from it."
        )
    return batch_or_none


def described(name: str, examples: int) -> str:
    """The data set as a reason says it: '1000 training examples', '500 examples of far.py:shifted'."""
    words = {"train": "training examples", "test": "test examples"}
    return f"{examples} {words.get(name, f'examples of {name}')}"


def own_data_set(name: str) -> Batch:
    """What the user's function returns: two tensors of finite numbers, as long as each other.

    It is asked more than once: for n, for the losses at the checkpoints, for those along the chains, in each process.
    Raises DeviError where it then returns others.
    """
    function = load_function(name)
    try:
        parameters = inspect.signature(function)
    except (TypeError, ValueError):  # of what is written in C nothing is known
        parameters = inspect.Signature()
    try:
        parameters.bind()
    except TypeError:
        raise DeviError(
            f"data set {name}: it is called without arguments and takes {parameters}; {EXPECTED}."
        ) from None
    call = f"{name.rpartition(':')[2]}()"
    with own_code(function, call):
        made = function()
    batch = checked_batch(f"data set {name}: {call}", made)
    if batch is None or not len(batch.targets):
        got = "None" if batch is None else "no examples"
        raise DeviError(f"data set {name}: {call} returned {got}; {EXPECTED}, with at least one example.")
    digest = batch_hash(batch)
    if _MADE.setdefault(id(function), (function, digest))[1] != digest:
        raise DeviError(
            f"data set {name}: {call} returned other examples than when it was called before; expected the same ones"
            " each time. Seed what it draws, with a generator of its own: torch.Generator().manual_seed(0)."
        )
    for which, values in zip(Batch._fields, batch, strict=True):
        wrong = (~values.isfinite()).flatten(1).any(1) if values.ndim > 1 else ~values.isfinite()
        if wrong.any():
            raise DeviError(
                f"data set {name}: {int(wrong.sum())} of {len(values)} examples have {which} that are not finite, the"
                f" first is number {int(wrong.nonzero()[0])}; expected finite numbers. Leave such examples out."
            )
    return batch


def _check_like(batch: Batch, like: Batch | None, name: str) -> None:
    """Sequences may be of another length than the task's; targets alone of another shape would be spread out by torch,
    and give a loss of something else."""
    if like is None:
        return
    is_same = batch.inputs.shape[1:] == like.inputs.shape[1:]
    if is_same and batch.targets.shape[1:] != like.targets.shape[1:]:
        raise DeviError(f"data set {name}: {_shown(batch)}; expected the shapes of data('train'): {_shown(like)}.")


def _check_fits(batch: Batch, task: Task, model: nn.Module, name: str) -> None:
    real = next((value for value in model.parameters() if value.is_floating_point()), torch.empty(0))
    few = floats_as(Batch(*(part[:TRIED] for part in batch)).to(real.device), real.dtype)
    like = examples(task, "train")
    expected = "" if like is None else f" Those of data('train') are {_shown(like)}."
    try:
        with torch.no_grad():
            losses = task.loss(model.eval()(few.inputs), few.targets)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise DeviError(
            f"data set {name}: {_shown(batch)} do not go through the task's model and loss"
            f" ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); expected examples like"
            f" those that it was trained on.{expected}"
        ) from error
    if not isinstance(losses, Tensor) or losses.shape != few.targets.shape[:1]:
        raise DeviError(
            f"data set {name}: {_shown(batch)} do not give one value of the loss for each example; expected examples"
            f" like those that the model was trained on.{expected}"
        )


def _shown(batch: Batch) -> str:
    return ", ".join(
        f"{which} {tuple(values.shape)} {str(values.dtype).removeprefix('torch.')}"
        for which, values in zip(Batch._fields, batch, strict=True)
    )
