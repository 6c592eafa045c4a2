"""Rebuild: the task's model with a checkpoint's weights, and the error when the two do not fit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from devi.checkpoints.layout import Layout
from devi.checkpoints.state import seeded
from devi.checkpoints.tensors import from_stored, named_tensors, unwrapped
from devi.contract import check_model, own_code
from devi.errors import DeviError, quoted, shown
from devi.plugins import name_of
from devi.task import Task, settings_of, with_settings

Shape = tuple[int, ...]

# A guess is made from what may be a stranger's file: neither many models nor large ones are built for it.
MOST_TRIED, MOST_TRIED_SIZE = 8, 100_000


def built(task: Task, seed: Any, *, is_outline: bool = False) -> nn.Module:
    """task.model() under a generator seeded as in training; the global generators are left as they were."""
    with seeded(seed if type(seed) is int and -(2**63) <= seed < 2**63 else 0):
        model = task.model()
    check_model(task, model, is_outline=is_outline)
    return unwrapped(model)  # its names are those that were recorded, and vmap does not go through a wrapper


def named(task: Task, metadata: dict[str, Any], path: str) -> nn.Module:
    """`built`; of a built-in task, whose settings come out of the file, DeviError if they make no model."""
    try:
        return built(task, metadata.get("seed"))
    except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError, ZeroDivisionError) as error:
        if not type(task).__module__.startswith("devi.tasks."):
            raise
        raise DeviError(
            f"{path}: its stored settings make no model of the task '{name_of('task', type(task))}':"
            f" {shown(error, 200)}. Were they changed by hand? See: devi show {quoted(path)}"
        ) from None


def check(model: nn.Module, task: Task, layout: Layout, path: str, step: int, metadata: dict[str, Any]) -> None:
    """Raise DeviError for the first name or shape that the model and the run do not share."""
    expected = shapes_of(model)
    stored = {name: tensor for tensor in layout.tensors for name in (tensor.name, *tensor.tied)}
    settings, kept = settings_of(task), metadata.get("settings") or {}
    known = ", ".join(f"{key}={settings[key]!r}" for key in settings if kept.get(key, settings[key]) != settings[key])
    about = f"the task '{name_of('task', type(task))}'" + (f" with {known}" if known else "")
    changed = [f"{key}={kept[key]!r}" for key in settings if kept.get(key, settings[key]) != settings[key]]
    for name in [*stored, *expected]:
        if name not in stored or name not in expected:
            has, lacks = (about, "the run") if name in expected else ("the run", about)
            was = f" It was made with {', '.join(changed)}." if changed else ""
            raise DeviError(f"{path}: {has} has '{name}', {lacks} has not.{was} See: devi show {quoted(path)}")
        shape, wanted = stored[name].shape, expected[name]
        if shape != wanted:
            if not changed:
                changed = likely_settings(task, {each: tensor.shape for each, tensor in stored.items()}, expected)
                if changed:
                    about += f" with {changed[0].partition('=')[0]}={settings[changed[0].partition('=')[0]]!r}"
            hint = f" Was the run made with {', '.join(changed)}?" if changed else ""
            kind = "buffer" if stored[name].is_buffer else "weight"
            raise DeviError(
                f"{path}: step {step} has {kind} '{name}' of shape {shape}; {about} expects {wanted}.{hint}"
                f" See: devi show {quoted(path)}"
            )


def misfit(task: Task, layout: Layout, metadata: dict[str, Any], path: Path) -> str:
    """What a run that is about to be recorded will lack, as a sentence: its task builds another model; empty if not."""
    seed = metadata.get("seed")
    try:
        try:
            model = _outline(task, seed)
        except Exception:  # some look at values while they build
            with own_code(task, "model()"):
                model = built(task, seed)
        check(model, task, layout, str(path), 0, metadata)
    except DeviError as error:
        names = [tensor.name for tensor in layout.tensors]
        is_averaged = "n_averaged" in names and any(name.startswith("module.") for name in names)
        held = " Of an AveragedModel, record what it holds: record(step, averaged.module)." if is_averaged else ""
        return (
            f"{path}: the task's model() does not build what is recorded, so that neither model_at nor devi analyze"
            f" will take this run with it. Give Recorder the task of this very model.{held} {error}"
        )
    return ""


def likely_settings(task: Task, shapes: Mapping[str, Shape], expected: Mapping[str, Shape]) -> list[str]:
    """The one setting with which the task's model has all these shapes, as KEY=VALUE; none if there is none such.

    expected  those that it has as it is
    """
    settings = settings_of(task)
    sizes = [
        pair for name in expected for pair in zip(shapes.get(name, ()), expected[name], strict=False) if name in shapes
    ]
    tried = {
        (key, had): None
        for had, expects in sizes
        for key, value in settings.items()
        if had != expects and type(value) is int and value == expects and had <= MOST_TRIED_SIZE
    }
    return [f"{key}={had}" for key, had in list(tried)[:MOST_TRIED] if _fits(task, {**settings, key: had}, shapes)][:1]


def _fits(task: Task, settings: dict[str, Any], shapes: Mapping[str, Shape]) -> bool:
    """Whether the task's model with these settings has these shapes."""
    try:
        model = _outline(with_settings(type(task), settings), 0)
    except Exception:  # whatever a task makes of settings that nobody gave it
        return False
    return all(shapes.get(name) == shape for name, shape in shapes_of(model).items())


def _outline(task: Task, seed: Any) -> nn.Module:
    """`built` on torch's meta device: without memory for its values, of which a large model has no second set."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # weights that model() loads go nowhere
        return built(task, seed, is_outline=True)


def shapes_of(model: nn.Module) -> dict[str, Shape]:
    """Of each parameter and persistent buffer, by name."""
    return {name: tuple(owner[key].shape) for name, owner, key, _ in named_tensors(model)}


def load(model: nn.Module, layout: Layout, record: np.void) -> None:
    """Copy a record's tensors into the model, bit for bit where the dtypes agree."""
    places = {name: owner[key] for name, owner, key, _ in named_tensors(model)}
    with torch.no_grad():
        for tensor in layout.tensors:
            if tensor.field is not None:
                place = places[tensor.name]
                if 0 in place.stride():  # expanded: several elements in one place, which cannot be written to
                    place.data = place.detach().clone(memory_format=torch.contiguous_format)
                place.copy_(from_stored(np.asarray(record[tensor.field]), tensor.dtype))
