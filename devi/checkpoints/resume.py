"""Resume slots: everything a run needs to go on bit for bit, in two files written in turn.

A slot is an HDF5 file whose user block holds the nested structure as JSON and, for each array, its place and SHA-256;
the arrays are datasets `array-000000` … The slot with the highest intact counter wins.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from devi.checkpoints.hdf5 import contiguous, create_hdf5
from devi.checkpoints.slot_file import SCHEMA, SLOTS, counter_of, read_slot_file
from devi.checkpoints.state import decode, encode, get_state, random_states, set_random_states, set_state
from devi.checkpoints.userblock import (
    UNKNOWN_OFFSET,
    BlockError,
    is_too_deep,
    json_bytes,
    packed,
    replacing,
    size_for,
    write_all,
)
from devi.errors import DeviError, shown

# What objects raise when they are given a state that is not theirs.
_MISFITS = (ValueError, RuntimeError, KeyError, TypeError, AttributeError, IndexError, OverflowError)

_FLAT = "give it in fewer levels, or leave it out."


class Snapshot(NamedTuple):
    """The state of a run between two optimizer steps."""

    step: int
    recorded: int  # the last step that was recorded until then
    structure: Any
    arrays: list[np.ndarray]

    @property
    def size(self) -> int:
        return sum(array.nbytes for array in self.arrays)

    def copied(self) -> Snapshot:
        """With memory of its own: training may go on while it waits to be written."""
        return self._replace(arrays=[array.copy() for array in self.arrays])


class Slot(NamedTuple):
    """A slot as read: `content` has model, transient, training, frozen (not in old slots), state, random."""

    step: int
    counter: int
    run_id: str
    content: dict[str, Any]


def snapshot(step: int, recorded: int, model: nn.Module, state: dict[str, Any]) -> Snapshot:
    """The model, the user's objects and every random number generator, in their own memory where it is the CPU's."""
    content = {
        "model": dict(model.state_dict()),
        # state_dict leaves these out, yet a forward pass may read them
        "transient": {name: owner[key] for name, owner, key in _transient(model) if owner[key] is not None},
        "training": [name for name, module in model.named_modules() if module.training],
        "frozen": [name for name, parameter in _parameters(model) if not parameter.requires_grad],
        "random": random_states(),
    }
    arrays: list[np.ndarray] = []
    structure = {name: _encoded(value, arrays, name) for name, value in content.items()}
    structure["state"] = {
        name: _encoded(get_state(name, thing), arrays, f"state['{name}']") for name, thing in state.items()
    }
    return Snapshot(step, recorded, structure, arrays)


def _encoded(value: Any, arrays: list[np.ndarray], at: str) -> Any:
    try:
        return encode(value, arrays, at)
    except RecursionError:
        raise DeviError(
            f"{at} is nested without end or too deep, so that a resume slot cannot hold it. Does a list or dict in it"
            " contain itself? Expected a few levels: leave it out of `state`, or give it a state_dict() without it."
        ) from None


def apply(slot: Slot, model: nn.Module, state: dict[str, Any], where: Path) -> list[str]:
    """Load a slot into the model, the user's objects and the generators; returns what could not be, in words."""
    words = []
    content = slot.content
    kept, given = sorted(content["state"]), sorted(state)
    if kept != given:
        raise DeviError(
            f"{where}: the run was kept with state {kept}, this Recorder was given {given}."
            " Give the same names, so that all of it can be put back."
        )
    try:
        _give_own_memory(model)
        model.load_state_dict(content["model"])
        left = _put_transient(model, content["transient"])
        if left:
            words.append(f"the model has no buffer {', '.join(left)} now, whose values were kept")
        training = set(content["training"])
        if "frozen" in content:  # older slots do not say it: the parameters then stay as they were built
            _put_frozen(model, set(content["frozen"]))
    except _MISFITS as error:
        raise DeviError(
            f"{where}: the model does not fit the one that was kept at step {slot.step}: {error}\n"
            "Build it with the settings the run was made with, or record to another path."
        ) from None
    for name, module in model.named_modules():
        module.training = name in training
    for name, thing in state.items():
        try:
            set_state(thing, content["state"][name])
        except _MISFITS as error:
            grown = ", with the parameter groups that it added on its way" if "parameter group" in str(error) else ""
            raise DeviError(
                f"{where}: state['{name}'] ({type(thing).__name__}) does not take what was kept: {error}\n"
                f"Build it as the run did{grown}, or record to another path."
            ) from None
    try:
        random = set_random_states(content["random"])
    except _MISFITS as error:
        raise DeviError(
            f"{where}: the random states that were kept are none: {error}. Was the slot made by another program?"
            " Record to another path."
        ) from None
    return words if random is None else [*words, random]


def _transient(model: nn.Module) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(full name, the dict that owns it, key there) of the buffers that state_dict() leaves out, and of those None."""
    persistent = model.state_dict().keys()
    for prefix, module in model.named_modules():
        for key in module._buffers:
            name = f"{prefix}.{key}" if prefix else key
            if name not in persistent:
                yield name, module._buffers, key


def _put_transient(model: nn.Module, kept: dict[str, Tensor]) -> list[str]:
    """Put back what state_dict() leaves out; returns the names the model has not. Raises ValueError for misfits."""
    places = {name: (owner, key) for name, owner, key in _transient(model)}
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    for name in kept.keys() & places.keys():
        (owner, key), values = places[name], kept[name]
        now = owner[key]
        if now is None:  # made by the first forward pass, say
            owner[key] = values.to(device)
        elif (now.dtype, now.shape) == (values.dtype, values.shape):
            now.copy_(values)
        else:  # copy_ would broadcast and convert
            forms = (f"{each.dtype} {tuple(each.shape)}".removeprefix("torch.") for each in (now, values))
            raise ValueError("buffer '{}' is {} now and was {}".format(name, *forms))
    return sorted(kept.keys() - places.keys())


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """By each of their names: of which parameters are tied, the model that is built to resume may know another."""
    return model.named_parameters(remove_duplicate=False)


def _put_frozen(model: nn.Module, frozen: set[str]) -> None:
    """Let exactly those parameters be trained that were. Raises RuntimeError for one that cannot have a gradient."""
    for name, parameter in _parameters(model):
        if parameter.requires_grad == (name in frozen):
            parameter.requires_grad_(name not in frozen)


def _give_own_memory(model: nn.Module) -> None:
    """To what torch expanded, whose elements share their memory: nothing can be copied there."""
    for tensor in [*model.parameters(), *model.buffers()]:
        if not is_lazy(tensor) and any(
            step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True)
        ):
            tensor.data = tensor.detach().clone(memory_format=torch.contiguous_format)


def write_slot(folder: Path, counter: int, run_id: str, shot: Snapshot) -> None:
    """Write a snapshot to the slot whose turn it is: the other one stays whole until this one is.

    Raises BlockError, UnicodeEncodeError or RecursionError for a state whose JSON could not be read back.
    """
    places: list[dict[str, Any]] = [
        {
            "dtype": array.dtype.str,
            "shape": list(array.shape),
            "offset": UNKNOWN_OFFSET,
            "sha256": hashlib.sha256(array.data).hexdigest(),
        }
        for array in shot.arrays
    ]
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "run_id": run_id,
        "step": shot.step,
        "recorded": shot.recorded,
        "counter": counter,
        "structure": shot.structure,
        "arrays": places,
        "user_block": UNKNOWN_OFFSET,
    }
    content["user_block"] = size_for(content)
    with replacing(folder / SLOTS[counter % 2]) as temporary:
        file = create_hdf5(temporary, content["user_block"])
        try:
            for number, (array, place) in enumerate(zip(shot.arrays, places, strict=True)):
                place["offset"] = _add_dataset(file, f"array-{number:06d}", array)
        finally:
            file.close()
        descriptor = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
        try:
            for array, place in zip(shot.arrays, places, strict=True):
                if array.nbytes:
                    write_all(descriptor, array.reshape(-1).view(np.uint8).data, place["offset"])
            write_all(descriptor, packed(content), 0)
        finally:
            os.close(descriptor)


def advice(shot: Snapshot) -> str:
    """What to change in a state that does not fit into a slot: a part that no slot holds, or else the largest."""
    nodes = {**shot.structure, **{f"state['{shown(name)}']": node for name, node in shot.structure["state"].items()}}
    del nodes["state"]
    sizes = {}
    for name, node in nodes.items():
        try:
            sizes[name] = len(json_bytes(node))
        except UnicodeEncodeError:
            return f"{name} holds text with half of a surrogate pair: give it as bytes, or leave it out."
        except RecursionError:
            return f"{name} is nested too deep: {_FLAT}"
        if is_too_deep({"structure": {"state": {name: node}}}):
            return f"{name} is nested too deep: {_FLAT}"
    return (
        f"Most of it is {max(sizes, key=sizes.__getitem__)}: give what is long as a tensor, an array or one flat list"
        " of numbers, or leave it out."
    )


def _add_dataset(file: h5py.h5f.FileID, name: str, array: np.ndarray) -> int:
    kind, space = h5py.h5t.py_create(array.dtype, logical=True), h5py.h5s.create_simple(array.shape)
    return h5py.h5d.create(file, name.encode(), kind, space, contiguous()).get_offset() or 0


def newest_slot(folder: Path, run_id: str | None) -> tuple[Slot | None, list[str]]:
    """The intact slot of this run with the highest counter, and what is wrong with those tried before."""
    problems = []
    # The other one is not read if the first is whole: both may be larger than the memory.
    for path in sorted((folder / name for name in SLOTS if (folder / name).exists()), key=_turn, reverse=True):
        try:
            slot = _read_slot(path)
        except (BlockError, OSError) as error:
            problems.append(f"{path.name} is damaged and was not used: {error}.")
            continue
        if slot.run_id == run_id:
            return slot, problems
        problems.append(f"{path.name} belongs to another run and was not used.")
    return None, problems


def _turn(path: Path) -> float:
    """A slot's counter; one that gives none comes first, so that what is wrong with it is told."""
    counter = counter_of(path)
    return math.inf if counter is None else counter


def _read_slot(path: Path) -> Slot:
    """Raises BlockError if any byte that is used is damaged."""
    file = read_slot_file(path)
    try:
        arrays = dict(enumerate(file.arrays))
        content = {key: decode(value, arrays) for key, value in file.structure.items() if key != "state"}
        content["state"] = {key: decode(value, arrays) for key, value in file.structure["state"].items()}
    except (
        *(KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError),
        *(StopIteration, RuntimeError, MemoryError),
    ) as error:
        raise BlockError(f"its JSON does not describe a resume slot: {error!r}"[:200]) from None
    return Slot(file.step, file.counter, file.run_id, content)
