"""Source: copies a model into records, for as long as its tensors are those that the layout was made of."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from operator import getitem, index, is_
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from devi.checkpoints.record import RecordBuffer, bytes_of
from devi.checkpoints.tensors import layout_of, to_stored, unwrapped
from devi.errors import DeviError, shown

_dtype_of: Any = Tensor.dtype.__get__  # type: ignore[attr-defined]
_MISFITS = (KeyError, TypeError, ValueError, RuntimeError, OverflowError, struct.error)
Copy = Callable[[nn.Module, int, Mapping[str, Any]], bool]


class Source:
    """A model as the origin of records: its layout, and where it keeps the tensor of each field."""

    def __init__(self, model: nn.Module, scalars: Sequence[str]) -> None:
        self.inner = unwrapped(model)
        self.layout, places = layout_of(self.inner, scalars)
        self._model, self._places = model, places
        fields = [tensor for tensor in self.layout.tensors if tensor.field is not None]
        self._forms = [(t.name, getattr(torch, t.dtype), t.shape) for t in fields]
        modules = list(model.modules())
        self._dicts = [each for module in modules for each in (module._modules, module._parameters, module._buffers)]
        self._lengths = list(map(len, self._dicts))
        # What has no field, because it is None, tied to another or empty, must stay so: it would go unrecorded.
        stored = {(id(owner), key) for owner, key in places}
        others = [place for place in _persistent(self.inner) if (id(place[0]), place[1]) not in stored]
        self._same = [(module._modules, name, child) for module in modules for name, child in module._modules.items()]
        self._same += [(owner, key, owner[key]) for owner, key in others]
        empty = [(owner, key) for owner, key in others if owner[key] is not None and owner[key].numel() == 0]
        self._empty = [(owner, key, owner[key].dtype, owner[key].shape) for owner, key in empty]
        self._copy: Copy | None = None
        self._buffer: RecordBuffer | None = None

    def is_still(self, model: nn.Module) -> bool:
        """Whether this is the same model, with the same modules, and parameters and buffers of the same names; those
        that are None, empty or tied to others still are."""
        return (
            model is self._model
            and list(map(len, self._dicts)) == self._lengths
            and all(family.get(name) is thing for family, name, thing in self._same)
            and all((owner[key].dtype, owner[key].shape) == (dtype, shape) for owner, key, dtype, shape in self._empty)
            and all(owner.get(key) is not None for owner, key in self._places)
        )

    def copy_as_before(self, buffer: RecordBuffer, model: nn.Module, step: int, scalars: Mapping[str, Any]) -> bool:
        """Copy numbers and tensors to their fields, if all of them are still where they were; whether they were."""
        return self._copy is not None and buffer is self._buffer and self._copy(model, step, scalars)

    def copy_to(self, buffer: RecordBuffer, step: int, scalars: Mapping[str, Any], path: Path) -> None:
        """Look where everything is, and copy it. Raises DeviError for other names, for what is no number, and for a
        changed dtype or shape."""
        names = self.layout.scalars
        if scalars.keys() != set(names):
            raise DeviError(
                f"{path}: got scalars {sorted(scalars)}; the first checkpoint fixed them as {sorted(names)}."
                " Give the same ones each time, float('nan') where there is no value."
            )
        buffer.set_numbers(step, *[_checked_number(name, scalars[name], path) for name in names])
        tensors = [owner[key] for owner, key in self._places]
        for (name, dtype, shape), tensor in zip(self._forms, tensors, strict=True):
            if tensor.dtype != dtype or tensor.shape != shape:
                now, before = (str(each).removeprefix("torch.") for each in (tensor.dtype, dtype))
                raise DeviError(
                    f"{path}: parameter '{name}' is now {now} of shape {tuple(tensor.shape)}; the run began"
                    f" with {before} of shape {shape}, and a run has one layout."
                    " Record the changed model to another path."
                )
        values = [to_stored(tensor) for tensor in tensors]
        copies = [(place.bytes, bytes_of(found)) for place, found in zip(buffer.places, values, strict=True)]
        for place_bytes, content in copies:
            place_bytes[:] = content
        self.release()
        if all(map(_is_plain, tensors, values)):
            self._copy, self._buffer = self._as_now(buffer, copies), buffer

    def _as_now(self, buffer: RecordBuffer, copies: list[tuple[memoryview, memoryview]]) -> Copy:
        """What copies the next record, as long as the model keeps its tensors' values in this memory.

        Just after a training step none of this is in the caches, and whatever is looked up costs 0.5 µs: so all of it
        stands in one closure, and lists are gone through by C. The copies keep the memory alive: no other tensor can
        come to stand there unnoticed.
        """
        model, dicts, lengths = self._model, self._dicts, self._lengths
        names, set_numbers, get, is_same = self.layout.scalars, buffer.set_numbers, getitem, is_
        looked_at = [*self._places, *((owner, key) for owner, key, _, _ in self._empty)]
        owners, keys = [owner for owner, _ in looked_at], [key for _, key in looked_at]
        tensors = list(map(getitem, owners, keys))
        families, own_names = [family for family, _, _ in self._same], [name for _, name, _ in self._same]
        things = [thing for _, _, thing in self._same]
        pointer_of, shape_of, stride_of, dtype_of = Tensor.data_ptr, Tensor.size, Tensor.stride, _dtype_of
        pointers, shapes = list(map(pointer_of, tensors)), list(map(shape_of, tensors))
        strides, dtypes = list(map(stride_of, tensors)), list(map(dtype_of, tensors))

        def copy(now: nn.Module, step: int, scalars: Mapping[str, Any]) -> bool:
            try:
                if (
                    now is not model
                    or tuple(scalars) != names
                    or list(map(len, dicts)) != lengths
                    or not all(map(is_same, map(get, families, own_names), things))
                ):
                    return False
                found = list(map(get, owners, keys))  # which of them stand here now is no matter, but where
                if (
                    list(map(pointer_of, found)) != pointers
                    or list(map(shape_of, found)) != shapes
                    or list(map(stride_of, found)) != strides
                    or list(map(dtype_of, found)) != dtypes
                ):
                    return False
                numbers: Collection[Any] = scalars.values()
                for number in numbers:
                    if type(number) is not float:
                        numbers = list(map(_number, numbers))
                        break
                set_numbers(step, *numbers)
            except _MISFITS:  # a tensor is gone, None or without memory of its own; a number is none: copy_to says so
                return False
            for place, content in copies:
                place[:] = content
            return True

        return copy

    def release(self) -> None:
        """Let go of the tensors' memory; the next record looks at them anew."""
        self._copy = self._buffer = None


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


def _number(value: Any) -> float:
    return value.item() if isinstance(value, Tensor) else float(value)


def _checked_number(name: str, value: Any, path: Path) -> float:
    try:
        return float(_number(value))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise DeviError(
            f"{path}: scalar '{name}' is {shown(repr(value))}, expected one real number, or float('nan') where there"
            " is none."
        ) from None
