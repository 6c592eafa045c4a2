"""TrainingPlan: how a task is trained, from its own fields, a preset and what the user sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from devi.checkpoints.reader import open_run
from devi.checkpoints.records import Records
from devi.errors import DeviError, shown, unknown_name
from devi.plugins import name_of
from devi.task import NotNegative, Positive, Seed, Task, setting_names, settings_of, unknown_setting, with_settings


@dataclass(frozen=True)
class TrainingPlan:
    """How a task is trained. Each value is the user's, else the task's field of that name, else the default here."""

    optimizer: str = "AdamW"  # any class of torch.optim
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative | None = None  # None: the optimizer's own default, as below
    betas: tuple[float, float] | None = None
    momentum: NotNegative | None = None
    optimizer_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    scheduler: str | None = None  # any class of torch.optim.lr_scheduler
    scheduler_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    batch_size: Annotated[int, Field(ge=0)] = 0  # 0: the full training set
    steps: Annotated[int, Field(ge=1)] = 1000  # optimizer steps
    checkpoints: str = "log:100"
    seed: Seed = 0


def planned(
    cls: type[Task], settings: Mapping[str, Any], *, preset: str | None = None, called: str | None = None
) -> tuple[Task, TrainingPlan]:
    """Task and plan from settings: defaults < the task's fields < the preset < `settings`. Unknown keys are errors.

    called   what the user calls the task, for the messages
    """
    called = called or name_of("task", cls)
    if preset is not None:
        if preset not in cls.presets:
            raise unknown_name(f"preset of {called}", preset, cls.presets)
        settings = {**cls.presets[preset], **settings}
    own, plan_keys = setting_names(cls), setting_names(TrainingPlan)
    for key in settings:
        if isinstance(settings[key], dict) and key not in own and key not in plan_keys:
            example = next(iter(settings[key].items()), ("features", 5))
            raise DeviError(
                f"'{key}' is a table, [{key}], and no setting of task {called}. Its settings stand at the top of the"
                f" file, without one: {example[0]} = {example[1]!r}"
            )
        if key not in own and key not in plan_keys:
            raise unknown_setting(cls, key, {*own, *plan_keys}, kind="task", called=called)
    task = with_settings(cls, {key: value for key, value in settings.items() if key in own}, called=called)
    settings_of(task)  # raises DeviError now, not at the first checkpoint, for what a run cannot store
    values = declared(task) | {key: value for key, value in settings.items() if key not in own}
    return task, with_settings(TrainingPlan, values, called=called)


def declared(task: Task | type[Task]) -> dict[str, Any]:
    """The plan's values that a task has as fields or attributes; of a class, before one is made, without properties."""
    found = {key: getattr(task, key) for key in setting_names(TrainingPlan) if hasattr(task, key)}
    return {key: value for key, value in found.items() if not callable(value) and not isinstance(value, property)}


def resumed_settings(
    path: Path, cls: type[Task], given: Mapping[str, Any], *, preset: str | None = None
) -> dict[str, Any]:
    """The settings a run was made with, for going on with it. Raises DeviError if `given` says otherwise."""
    if not any(Path(path).glob("segment-*.h5")):
        return {**(cls.presets.get(preset, {}) if preset else {}), **given}  # nothing there yet: a first start
    records = Records.open(Path(path), is_live=False)  # not a Run: it may have been killed before its first checkpoint
    metadata = records.layout_header.metadata if records.segments else open_run(path, cls).metadata
    own = setting_names(cls)
    stored = {**metadata.get("training", {}), **metadata.get("settings", {})}
    try:
        was = planned(cls, stored)
    except DeviError as error:
        raise DeviError(
            f"{path} was made with task = {shown(repr(metadata.get('task')))}, and {cls.__name__} does not take its"
            f" settings: {error}\nResume with the task as it was, or give another --out for a new run."
        ) from None
    before = settings_of(was[0]) | settings_of(was[1])
    task, plan_ = planned(cls, {**stored, **given})
    now = settings_of(task) | settings_of(plan_)
    differing = [f"{key}={now[key]} (the run has {before[key]})" for key in now if now[key] != before[key]]
    if differing:
        raise DeviError(
            f"{path}: --resume goes on with the run's own settings, but these differ: {', '.join(differing)}."
            f" Leave them out, or start another run: with --out, or with other --seeds."
        )
    return {key: value for key, value in stored.items() if key in own or key in setting_names(TrainingPlan)}
