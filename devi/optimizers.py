"""Optimizers and schedulers by the names that torch has for them, and what of the settings they take."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from devi.errors import DeviError, unknown_name
from devi.plan import TrainingPlan
from devi.task import Task, setting_names

OPTIONS = {"learning_rate": "lr", "weight_decay": "weight_decay", "betas": "betas", "momentum": "momentum"}
# Made of functions or of other schedulers, which are no settings.
NOT_BY_NAME = ("LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler")


def make_optimizer(task: Task, plan: TrainingPlan, model: nn.Module) -> torch.optim.Optimizer:
    """The task's own `optimizer(parameters)`, else the torch.optim class that the plan names."""
    own = getattr(task, "optimizer", None)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise DeviError(
            f"task {type(task).__name__}: its model has no parameter with requires_grad=True, so that there is nothing"
            f" to train."
        )
    if callable(own):
        return own(parameters)
    cls = _torch_class("optimizer", torch.optim, torch.optim.Optimizer, plan.optimizer)
    accepted = inspect.signature(cls).parameters
    wanted = {key: getattr(plan, setting) for setting, key in OPTIONS.items()}
    options = {key: value for key, value in wanted.items() if value is not None and key in accepted}
    options = {**options, **plan.optimizer_options}
    made = _made(cls, "optimizer", options, parameters)
    _try_a_step(cls, options, parameters)
    return made


def make_scheduler(plan: TrainingPlan, optimizer: torch.optim.Optimizer) -> Any:
    """The learning-rate scheduler that the plan names; what it must know of the run is filled in."""
    if plan.scheduler is None:
        return None
    base = torch.optim.lr_scheduler.LRScheduler
    cls = _torch_class("scheduler", torch.optim.lr_scheduler, base, plan.scheduler)
    known = {"T_max": plan.steps, "total_steps": plan.steps, "total_iters": plan.steps, "max_lr": plan.learning_rate}
    options = {key: value for key, value in known.items() if key in inspect.signature(cls).parameters}
    return _made(cls, "scheduler", {**options, **plan.scheduler_options}, optimizer)


def check_taken(task: Task, plan: TrainingPlan, given: Iterable[str]) -> None:
    """Raises DeviError if a setting that the user gave changes nothing: it would be stored as if it had been used.

    given   the names of the settings that were typed; what a task or preset sets for another optimizer is no mistake
    """
    values = {name: getattr(plan, name) for name in given if hasattr(plan, name)}
    # No momentum, say, is what an optimizer that takes none has.
    values = {name: value for name, value in values.items() if value not in (None, {}, 0)}
    if plan.scheduler is None and "scheduler_options" in values:
        raise DeviError(
            f"scheduler_options = {plan.scheduler_options} would change nothing: there is no scheduler. Leave it out,"
            " or choose one: --set scheduler=StepLR"
        )
    if callable(getattr(task, "optimizer", None)):
        taken = {*setting_names(type(task))} | ({"learning_rate"} if plan.scheduler else set())
        for name in sorted({*OPTIONS, "optimizer", "optimizer_options"} & {*values} - taken):
            raise DeviError(
                f"{name} = {values[name]} would change nothing: {type(task).__name__} makes its own optimizer, in"
                f" optimizer(parameters). Leave it out, or make '{name}' a field of the task that this method reads."
            )
        return
    cls = _torch_class("optimizer", torch.optim, torch.optim.Optimizer, plan.optimizer)
    accepted = inspect.signature(cls).parameters
    for name, option in OPTIONS.items():
        if option in plan.optimizer_options and {name, "optimizer_options"} & {*values}:
            raise DeviError(
                f"optimizer_options = {plan.optimizer_options} names '{option}', which is the setting {name}. Leave it"
                f" out there: --set {name}={plan.optimizer_options[option]}"
            )
    for name in sorted({*OPTIONS} & {*values}):
        if OPTIONS[name] not in accepted:
            takes = ", ".join(each for each in OPTIONS if OPTIONS[each] in accepted)
            more = ", ".join(each for each in accepted if each != "params" and each not in OPTIONS.values())
            raise DeviError(
                f"{name} = {values[name]} would change nothing: the optimizer {plan.optimizer} takes {takes}, and by"
                f" optimizer_options {more}. Leave {name} out, or choose another optimizer: --set optimizer=NAME"
            )


def _torch_class(kind: str, module: Any, base: type, name: str) -> type:
    known = {
        key
        for key, cls in vars(module).items()
        if inspect.isclass(cls) and issubclass(cls, base) and cls is not base and key[0] != "_"
    } - {*NOT_BY_NAME}
    if name not in known:
        raise unknown_name(kind, name, known)
    return getattr(module, name)


def _try_a_step(cls: type, options: dict[str, Any], parameters: list[nn.Parameter]) -> None:
    """Raises DeviError where the optimizer can be made and not be used: dense gradients or a device do not suit it."""
    probes = [nn.Parameter(one.detach().new_zeros([1] * one.dim())) for one in parameters]
    for probe in probes:
        probe.grad = torch.zeros_like(probe)
    try:
        cls(probes, **options).step(lambda: 0.0)
    except (TypeError, ValueError, RuntimeError, AssertionError, AttributeError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise DeviError(
            f"optimizer {cls.__name__} with {options} cannot take a step here: {why}. Leave that option out, or choose"
            " another optimizer: --set optimizer=NAME"
        ) from None


def _made(cls: type, kind: str, options: dict[str, Any], first: Any) -> Any:
    try:
        return cls(first, **options)
    except (TypeError, ValueError) as error:
        accepted = [key for key in inspect.signature(cls).parameters if key not in ("params", "optimizer")]
        raise DeviError(
            f"{kind} {cls.__name__} refuses {options}: {error}. It takes: {', '.join(accepted)}."
            f" Set them with --set {kind}_options='{{\"name\": value}}'"
        ) from None
