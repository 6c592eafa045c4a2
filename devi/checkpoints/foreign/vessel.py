"""Vessel: the task's model as what holds one foreign checkpoint at a time, so that the Recorder writes it as any other.

The model itself says which tensors are parameters, which are buffers and which are tied; its own weights are let go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from devi.checkpoints.foreign.names import (
    Rename,
    Shape,
    Wanted,
    is_same_network,
    missing,
    other_prefix,
    prefix_of,
    renamed,
)
from devi.checkpoints.foreign.source import Place
from devi.checkpoints.rebuild import built, likely_settings
from devi.checkpoints.tensors import named_tensors, to_stored
from devi.errors import DeviError, shown
from devi.task import Task, settings_of

COUNT = "num_batches_tracked"  # of BatchNorm since torch 0.4.1; torch reads 0 from older files too


class Vessel:
    """`fill` with one checkpoint, record `model`, `empty` it."""

    def __init__(self, task: Task, called: str, renames: Sequence[Rename] = ()) -> None:
        self.model = built(task, settings_of(task).get("seed"))
        self.left_out: list[str] = []  # names in the file that the model has not
        self.prefix = ""
        self.made_up: list[str] = []  # names in the model that the file has not, where 0 stands for them
        self._first: tuple[Place, str] | None = None  # what was filled in first, and its prefix
        self._dtypes: dict[str, str] = {}  # of what was filled in first
        self._task, self._called, self._renames = task, called, renames
        holders: dict[int, list[tuple[str, dict[str, Any], str]]] = {}
        shapes: dict[int, tuple[int, ...]] = {}
        for name, owner, key, _ in named_tensors(self.model):
            holders.setdefault(id(owner[key]), []).append((name, owner, key))
            shapes[id(owner[key])] = tuple(owner[key].shape)
        self._holders = list(holders.values())
        self._wanted = [Wanted(tuple(name for name, _, _ in held), shapes[one]) for one, held in holders.items()]
        self.empty()

    def fill(self, tensors: Mapping[str, Tensor], place: Place) -> None:
        """Put the tensors of a checkpoint into the model, without a copy. Raises DeviError if they do not fit."""
        there = renamed(place, tensors, self._renames)
        prefix = prefix_of(place, there, self._wanted, None if self._first is None else self.prefix)
        used = {prefix + name for one in self._wanted for name in one.names}
        rest = {name: tensor for name, tensor in there.items() if name not in used}
        lacking = [one for one in self._wanted if not any(prefix + name in there for name in one.names)]
        uncounted = [one.names[0] for one in lacking if one.names[0].rpartition(".")[2] == COUNT and one.shape == ()]
        if len(lacking) > len(uncounted):
            raise missing(place, rest, lacking, len(self._wanted), self._hint())
        there |= {prefix + name: torch.tensor(0) for name in uncounted}
        self._first = self._first or (place, prefix)
        if not is_same_network(prefix, self._first[1]):
            raise other_prefix(place, prefix, *self._first)
        for one, held in zip(self._wanted, self._holders, strict=True):
            given = [there[prefix + name] for name in one.names if prefix + name in there]
            if any(tuple(tensor.shape) != one.shape for tensor in given):
                raise self._other_shape(one, given, place, there, prefix)
            self._check(one, given, place)
            self._check_dtype(one.names[0], str(given[0].dtype).removeprefix("torch."), place)
            for _, owner, key in held:
                owner[key] = given[0]
        self.prefix, self.left_out, self.made_up = prefix, list(rest), uncounted

    def empty(self) -> None:
        """Let go of the tensors, so that the next checkpoint is read into the memory of this one."""
        nothing = torch.empty(0)
        for held in self._holders:
            for _, owner, key in held:
                owner[key] = nothing

    def _check(self, one: Wanted, given: list[Tensor], place: Place) -> None:
        for tensor in given:
            if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
                raise DeviError(
                    f"{place}: '{shown(one.names[0])}' is a sparse, quantized or meta tensor, without plain values."
                    " Save a dense one."
                )
        if any(not _same(given[0], other) for other in given[1:]):
            raise DeviError(
                f"{place}: {' and '.join(map(shown, one.names))} are one tensor in the task's model and differ in the"
                " file. Untie them in the model, or is it another kind of model?"
            )

    def _check_dtype(self, name: str, dtype: str, place: Place) -> None:
        first = self._dtypes.setdefault(name, dtype)
        if dtype != first:
            raise DeviError(
                f"{place}: '{shown(name)}' is {dtype}; those before it have {first}, and a run has one layout."
                f" Save all of them as {first}, or move those of {dtype} into a folder of their own, and convert it to"
                " another --out."
            )

    def _other_shape(
        self, one: Wanted, given: list[Tensor], place: Place, there: Mapping[str, Tensor], prefix: str
    ) -> DeviError:
        shapes: dict[str, Shape] = {}  # by the model's names; of tied ones the file may have one
        expected: dict[str, Shape] = {}
        for each in self._wanted:
            has = next(there[prefix + name] for name in each.names if prefix + name in there)
            shapes |= dict.fromkeys(each.names, tuple(has.shape))
            expected |= dict.fromkeys(each.names, each.shape)
        likely = likely_settings(self._task, shapes, expected)
        hint = f"Were they made with another setting? Try: --set {likely[0]}" if likely else self._hint()
        wrong = next(tuple(tensor.shape) for tensor in given if tuple(tensor.shape) != one.shape)
        return DeviError(
            f"{place}: '{shown(one.names[0])}' has shape {wrong}; the task {self._called} expects {one.shape}. {hint}"
        )

    def _hint(self) -> str:
        return f"Its settings change its shape (--set KEY=VALUE); they are listed by: devi tasks {self._called}"


def _same(one: Tensor, other: Tensor) -> bool:
    if one.dtype != other.dtype:
        return False
    if one.data_ptr() == other.data_ptr() and one.stride() == other.stride():
        return True
    # their bits: a number is not equal to itself where it is nan, and 0.0 equals -0.0
    return to_stored(one).tobytes() == to_stored(other).tobytes()
