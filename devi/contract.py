"""The contract of a task, checked at the door: a model with values, two tensors of examples, one tensor that the
model makes of them, one value of the loss for each; and whose fault an error is."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from devi.errors import DeviError, Unsuitable, shown
from devi.memory import is_out_of_memory
from devi.task import Batch, Split, Task

CHECKED = 16  # examples that are looked at before training


def examples(task: Task, split: Split) -> Batch | None:
    """The task's examples of a split; None if it has none. Raises DeviError if they are not two tensors, as long."""
    call = f"data('{split}')"
    with own_code(task, call):
        made = task.data(split)
    batch = checked_batch(f"task {type(task).__name__}: {call}", made)
    return None if batch is None or len(batch.inputs) == 0 else batch


def checked_batch(call: str, made: Any) -> Batch | None:
    """What `call`, a function of the user's, returned, a plain tuple too, as a Batch; None if it was None."""
    if made is None or _is_batch(made):
        return None if made is None else Batch(*made)
    pair = made if isinstance(made, tuple | list) and len(made) == 2 else None
    got = f"a {type(made).__name__}" if pair is None else f"({_shown(pair[0])}, {_shown(pair[1])})"
    arrays = pair is not None and any(type(part).__module__ == "numpy" for part in pair)
    raise DeviError(
        f"{call} returned {got}; expected Batch(inputs, targets), two Tensors with a"
        f" row for each example.{' Of an array: torch.from_numpy(array).' if arrays else ''}"
    )


def check_model(task: Task, model: Any, *, is_outline: bool = False) -> None:
    """Raises DeviError unless `model`, what model() returned, is a module whose tensors have shapes and values.

    is_outline   it was made on the meta device by intent: shapes will do
    """
    name = f"task {type(task).__name__}"
    if not isinstance(model, nn.Module):
        raise DeviError(f"{name}: model() returned {shown(model)}; expected a torch.nn.Module.")
    for key, tensor in (*model.named_parameters(), *model.named_buffers()):
        if isinstance(tensor, nn.parameter.UninitializedParameter | nn.parameter.UninitializedBuffer):
            raise DeviError(
                f"{name}: '{key}' of its model has no shape yet (a lazy module), so nothing can be trained and"
                " no checkpoint fits. Run one batch through the model at the end of model(): model(torch.zeros(1, 2))."
            )
        if tensor.is_meta and not is_outline:
            raise DeviError(
                f"{name}: '{key}' of its model is on the meta device, where tensors have no values. Make the model on"
                " the CPU, without device='meta'; devi train --device moves it."
            )


def check_values(task: Task, model: nn.Module, batch: Batch, split: Split) -> str:
    """What the analysis will lack, as a sentence: the loss may take several outputs, metrics take one tensor of them.

    Raises DeviError unless loss and accuracy of some examples are one value each, the loss with a gradient.
    """
    # From all of them, for they may be sorted: of examples with the same target, a loss that mixes them is the same.
    last = len(batch.targets) - 1
    count = min(CHECKED, last + 1)
    rows = torch.arange(count, device=batch.targets.device) * last // max(count - 1, 1)
    inputs, targets = (part[rows] for part in batch)
    with own_code(task, f"its model on inputs {tuple(inputs.shape)}, {inputs.dtype},"):
        outputs = model(inputs)
    given = f"outputs {tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__}"
    with own_code(task, f"loss or accuracy of {given}, targets {tuple(targets.shape)}"):
        losses, accuracy = task.loss(outputs, targets), task.accuracy(outputs, targets)
    if accuracy is not None:
        per_example(task, "accuracy", accuracy, targets, split)
    if not per_example(task, "loss", losses, targets, split).requires_grad:
        raise DeviError(
            f"task {type(task).__name__}: loss(outputs, targets) has no gradient, so that nothing can be trained;"
            f" expected a Tensor computed from the model's outputs by torch, without .detach(), .data, .numpy() or"
            f" torch.no_grad()."
        )
    if _depends_on_others(task, outputs, targets, losses):
        raise _mixing(task, outputs, targets)
    try:
        one_tensor(task, "model.forward", outputs, inputs)
    except Unsuitable as reason:
        return f"{reason} As it is, devi analyze cannot follow its losses."
    return ""


def one_tensor(task: Task, method: str, values: Any, inputs: Tensor) -> Tensor:
    """`values`, what a model's method gave of `inputs`, once it is sure that metrics can take it apart by example."""
    if not isinstance(values, Tensor):
        raise Unsuitable(
            f"task {type(task).__name__}: {method}(inputs) returned a {type(values).__name__};"
            f" expected one Tensor (example, ...). Let the task's model return only the tensor that `loss` takes;"
            " several can be put side by side: torch.stack([mean, logvar], dim=1)."
        )
    if values.ndim == 0 or len(values) != len(inputs):
        raise Unsuitable(
            f"task {type(task).__name__}: {method} of {len(inputs)} inputs returned shape"
            f" {tuple(values.shape)}; expected ({len(inputs)}, ...), one output per example, examples first."
        )
    return values


def per_example(task: Task, method: Literal["loss", "accuracy"], values: Any, targets: Tensor, split: Split) -> Tensor:
    """`values` once it is sure that there is one per example. Raises DeviError otherwise."""
    if isinstance(values, Tensor) and values.shape == targets.shape[:1] and not values.is_complex():
        return values
    got = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
    hint = ""
    if isinstance(values, Tensor) and values.is_complex():
        got, hint = f"{got} of {values.dtype}", " Take real numbers: .abs() or .real."
    elif isinstance(values, Tensor) and values.ndim and values.shape[:1] == targets.shape[:1]:
        hint = " Add up or average what belongs to one example, e.g. .flatten(1).sum(1)."
    elif method == "loss" and not (isinstance(values, Tensor) and values.ndim):
        hint = " Use reduction='none'."
    raise DeviError(
        f"task {type(task).__name__}: {method}(outputs, targets) on {len(targets)} {split} examples returned {got};"
        f" expected a Tensor ({len(targets)},), one value per example.{hint}"
    )


def _depends_on_others(task: Task, outputs: Any, targets: Tensor, losses: Tensor) -> bool:
    """Whether the loss of an example is another one beside other examples: that of the first is looked at.

    Found in two ways. Its loss beside a copy of itself: no other one beyond rounding. The gradient of its loss by the
    outputs and targets of the others: 0, to the bit, where it is a number; which needs no tolerance, and shows it where
    the others are equal. The model is not run again, so that what it does in its batch is its own.
    """
    if not isinstance(outputs, Tensor) or len(targets) < 2 or outputs.shape[:1] != targets.shape[:1]:
        return False
    outputs = outputs.detach()
    with suppress(Exception):  # a loss may take just so many examples, write into what it is given, ...
        if not torch.equal(task.loss(outputs, targets), losses):
            return False  # it draws random numbers or is nan, and there is nothing to compare
        alone = task.loss(outputs[[0, 0]], targets[[0, 0]])
        rounding = max(torch.finfo(part.dtype).eps for part in (outputs, losses) if part.is_floating_point()) ** 0.5
        if alone.shape == (2,) and (alone[0] - losses[0]).abs() > rounding * losses.abs().max():
            return True
    for place, part in enumerate((outputs, targets)):
        with suppress(Exception):  # ... or have no derivative by its targets
            moved = part.detach().requires_grad_()
            own = (moved, targets) if place == 0 else (outputs, moved)
            (gradient,) = torch.autograd.grad(task.loss(*own)[0], moved)
            if gradient[1:].nan_to_num().any():
                return True
    return False


def _mixing(task: Task, outputs: Tensor, targets: Tensor) -> DeviError:
    """The error for a loss of an example that depends on the others, with its usual cause."""
    shapes = tuple(outputs.shape), tuple(targets.shape)
    cause = "a mean, norm or softmax over dim 0, which is that of the examples"
    if outputs.ndim != targets.ndim:
        more, fewer = ("outputs", "targets") if outputs.ndim > targets.ndim else ("targets", "outputs")
        with suppress(RuntimeError):
            both = tuple(torch.broadcast_shapes(*shapes))
            cause = (
                f"that {shapes[0]} and {shapes[1]} broadcast to {both}: give both one shape, by {more}.squeeze(-1) or"
                f" {fewer}.unsqueeze(-1)"
            )
    return DeviError(
        f"task {type(task).__name__}: loss(outputs, targets) of outputs {shapes[0]} and targets {shapes[1]} gives an"
        f" example a loss that depends on the other examples; expected that of the example alone. The usual cause is"
        f" {cause}."
    )


@contextmanager
def own_code(own: object, call: str) -> Iterator[None]:
    """Turns an error in a user's task, metric or function into a DeviError that says in which line; those of built-in
    ones are bugs, and that memory ended is nobody's."""
    try:
        yield
    except DeviError:
        raise
    except Exception as error:
        home = own if hasattr(own, "__name__") else type(own)  # a function itself, or the class of an object
        if home.__module__.startswith("devi.") or is_out_of_memory(error):
            raise
        kind = "task" if isinstance(own, Task) else "function" if callable(own) else "metric"
        failed = f"{call} failed with {type(error).__name__}: {error}{_line(home, error)}"
        if "does not require grad" in str(error) and not torch.is_grad_enabled():
            failed += ". Gradients are off here: compute what needs them within `with torch.enable_grad():`"
        raise DeviError(f"{kind} {getattr(home, '__name__', '')}: {failed}") from error


def _line(home: object, error: Exception) -> str:
    """' (my_model.py, line 12)': the last line, on the way to the error, of its file or one beside it."""
    file = getattr(sys.modules.get(home.__module__), "__file__", None)
    folder = Path(file).resolve().parent if file else None
    last = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in last if folder and _is_below(frame.filename, folder)]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _is_below(file: str, home: Path) -> bool:
    path = Path(file).resolve()
    # '<string>', where a dataclass's own methods are from, would be a file of the working directory.
    return path.is_file() and path.is_relative_to(home) and "site-packages" not in path.relative_to(home).parts


def _is_batch(made: Any) -> bool:
    return (
        isinstance(made, tuple | list)
        and len(made) == 2
        and all(isinstance(part, Tensor) and part.ndim > 0 for part in made)
        and len(made[0]) == len(made[1])
    )


def _shown(part: Any) -> str:
    return f"{type(part).__name__}{f' {tuple(part.shape)}' if hasattr(part, 'shape') else ''}"
