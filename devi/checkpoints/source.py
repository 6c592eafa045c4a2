"""Source: copies a model into records, for as long as its tensors are those that the layout was made of."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import index
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from devi.checkpoints.record import RecordBuffer, bytes_of
from devi.checkpoints.tensors import check_storable, layout_of, to_stored, unwrapped
from devi.errors import DeviError, shown

_GONE = object()  # where a name is looked up that may stand for None


class Source:
    """A model as the origin of records: its layout, and where it keeps the tensor of each field."""

    def __init__(self, model: nn.Module, scalars: Sequence[str]) -> None:
        self.inner = unwrapped(model)
        self.layout, places = layout_of(self.inner, scalars)
        self._model, self._places = model, places
        fields = [tensor for tensor in self.layout.tensors if tensor.field is not None]
        self._forms = [(t.name, getattr(torch, t.dtype), t.shape) for t in fields]
        modules = list(model.modules())
        self._families = [module._modules for module in modules]
        self._dicts = [each for module in modules for each in (module._parameters, module._buffers)]
        self._unsaved = [module._non_persistent_buffers_set for module in modules if module._buffers]
        self._unsaved_names = list(map(set, self._unsaved))
        self._lengths = [*map(len, self._families), *map(len, self._dicts)]
        buffers = [(module._buffers, module._non_persistent_buffers_set) for module in modules]
        self._transient = [(owner, key) for owner, keys in buffers for key in owner.keys() & keys]
        # What has no field, because it is None, tied to another or empty, must stay so: it would go unrecorded.
        stored = {(id(owner), key) for owner, key in places}
        others = [place for place in _persistent(self.inner) if (id(place[0]), place[1]) not in stored]
        self._children = [(family, name, child) for family in self._families for name, child in family.items()]
        self._same = [(owner, key, owner[key]) for owner, key in others]
        empty = [(owner, key) for owner, key in others if owner[key] is not None and owner[key].numel() == 0]
        self._empty = [(owner, key, owner[key].dtype, owner[key].shape) for owner, key in empty]

    def is_still(self, model: nn.Module) -> bool:
        """Whether this is the same model, with the same modules, and parameters and buffers of the same names; those
        that are None, empty or tied to others still are, and no others are tied.

        As many names as before, and each of those before: so there is none under a new name.
        """
        return (
            model is self._model
            and [*map(len, self._families), *map(len, self._dicts)] == self._lengths
            and all(family.get(name, _GONE) is thing for family, name, thing in (*self._children, *self._same))
            and all(key in owner for owner, key in self._transient)
            and self._unsaved == self._unsaved_names
            and all((owner[key].dtype, owner[key].shape) == (dtype, shape) for owner, key, dtype, shape in self._empty)
            and all(owner.get(key) is not None for owner, key in self._places)
            and len({id(owner[key]) for owner, key in self._places}) == len(self._places)
        )

    def copy_to(self, buffer: RecordBuffer, step: int, scalars: Mapping[str, Any], path: Path) -> Still | None:
        """Look where everything is, and copy it; what a look at the next record is compared with, None if it must be
        looked for again. Raises DeviError for other names, for what is no number, and for a changed dtype or shape."""
        names = self.layout.scalars
        if scalars.keys() != set(names):
            raise DeviError(
                f"{path}: got scalars {sorted(scalars)}; the first checkpoint fixed them as {sorted(names)}."
                " Give the same ones each time, float('nan') where there is no value."
            )
        buffer.set_numbers(0, step, *[_checked_number(name, scalars[name], path) for name in names])
        tensors = [owner[key] for owner, key in self._places]
        try:
            values = self._values(tensors, path)
        except Exception:  # what has no plain values now, of another class perhaps: by its name
            for (name, _, _), tensor in zip(self._forms, tensors, strict=True):
                check_storable(name, tensor)
            raise
        copies = [(place.bytes, bytes_of(found)) for place, found in zip(buffer.places, values, strict=True)]
        for place_bytes, content in copies:
            place_bytes[:] = content
        if not all(map(_is_plain, tensors, values)):
            return None
        looked_at = [*self._places, *((owner, key) for owner, key, _, _ in self._empty)]
        owners, keys = [owner for owner, _ in looked_at], [key for _, key in looked_at]
        looked_through: list[Collection[str]] = [*self._dicts, *self._unsaved]
        contents: list[Collection[str]] = [*map(dict, self._dicts), *self._unsaved_names]
        return Still(self._model, self._families, self._children, looked_through, contents, names, owners, keys, copies)

    def _values(self, tensors: Sequence[Tensor], path: Path) -> list[np.ndarray]:
        """As they are stored. Raises DeviError for one that is of another dtype or shape than the layout's."""
        for (name, dtype, shape), tensor in zip(self._forms, tensors, strict=True):
            if tensor.dtype != dtype or tensor.shape != shape:
                now, before = (str(each).removeprefix("torch.") for each in (tensor.dtype, dtype))
                raise DeviError(
                    f"{path}: parameter '{name}' is now {now} of shape {tuple(tensor.shape)}; the run began"
                    f" with {before} of shape {shape}, and a run has one layout."
                    " Record the changed model to another path."
                )
        return [to_stored(tensor) for tensor in tensors]


class Still(NamedTuple):
    """A model as it was recorded, in place: as long as all of this is so, copying these bytes is to record it.

    The copies keep the memory alive: no other tensor can come to stand there unnoticed.
    """

    model: nn.Module
    families: list[dict[str, nn.Module | None]]  # of all its modules
    children: list[tuple[dict[str, nn.Module | None], str, nn.Module | None]]  # their family, name and themselves
    dicts: list[Collection[str]]  # of all its modules: parameters, buffers, names of buffers not to be saved
    contents: list[Collection[str]]  # of these
    scalars: tuple[str, ...]
    owners: list[dict[str, Any]]  # of each tensor that is recorded or empty, and its key there
    keys: list[str]
    copies: list[tuple[memoryview, memoryview]]  # (place in the record, the tensor's values)


def _is_plain(tensor: Tensor, values: np.ndarray) -> bool:
    """Whether the values can be read from the same memory next time: what is on a device, or in another order, was
    copied, and complex tensors can be conjugated lazily in the same memory."""
    return not tensor.is_complex() and values.flags.c_contiguous and values.ctypes.data == tensor.data_ptr()


def _persistent(model: nn.Module) -> Iterator[tuple[dict[str, Any], str]]:
    """Where the model keeps its parameters and persistent buffers, None among them."""
    for module in model.modules():
        yield from ((module._parameters, key) for key in module._parameters)
        yield from ((module._buffers, key) for key in module._buffers if key not in module._non_persistent_buffers_set)


def checked_step(step: Any, path: Path) -> int:
    """The step as Python's integer. Raises DeviError if it is none that a record can hold."""
    try:
        number = index(step)
    except TypeError:
        number = -1
    if not 0 <= number < 2**63:
        raise DeviError(
            f"{path}: {shown(repr(step))} is no step: expected a whole number from 0 on. Steps must increase."
        )
    return number


def checked_count(name: str, value: Any, least: int, path: Path) -> int:
    """A whole number of any kind, 1e4 too, as Python's integer. Raises DeviError if it is none, or below `least`."""
    try:
        count = int(value)
        is_count = count == value and count >= least
    except (TypeError, ValueError, OverflowError):
        is_count = False
    if not is_count:
        raise DeviError(
            f"{path}: {name}={shown(repr(value))}; expected a whole number from {least} on. Leave it out, or say:"
            f" Recorder(path, ..., {name}=1000)"
        )
    return count


def number(value: Any) -> float:
    """A scalar as Python's number, if it is one."""
    return value.item() if isinstance(value, Tensor) else float(value)


def _checked_number(name: str, value: Any, path: Path) -> float:
    try:
        return float(number(value))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise DeviError(
            f"{path}: scalar '{name}' is {shown(repr(value))}, expected one real number, or float('nan') where there"
            " is none."
        ) from None
