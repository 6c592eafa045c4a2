"""Source: copies a model into records, for as long as its tensors are those that the layout was made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from operator import getitem, is_
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from devi.checkpoints.record import RecordBuffer, bytes_of
from devi.checkpoints.tensors import layout_of, to_stored, unwrapped
from devi.errors import DeviError

_dtype_of: Any = Tensor.dtype.__get__  # type: ignore[attr-defined]
Copy = Callable[[nn.Module, int, Mapping[str, Any]], bool]


class Source:
    """A model as the origin of records: its layout, and where it keeps the tensor of each field."""

    def __init__(self, model: nn.Module, scalars: Sequence[str]) -> None:
        self.inner = unwrapped(model)
        self.layout, places = layout_of(self.inner, scalars)
        self._model, self._places = model, places
        modules = list(model.modules())
        self._dicts = [each for module in modules for each in (module._modules, module._parameters, module._buffers)]
        self._lengths = list(map(len, self._dicts))
        self._children = [
            (module._modules, name, child) for module in modules for name, child in module._modules.items()
        ]
        self._copy: Copy | None = None
        self._buffer: RecordBuffer | None = None

    def is_still(self, model: nn.Module) -> bool:
        """Whether this is the same model, with the same modules, and as many parameters and buffers of their names."""
        return (
            model is self._model
            and list(map(len, self._dicts)) == self._lengths
            and all(family.get(name) is child for family, name, child in self._children)
            and all(owner.get(key) is not None for owner, key in self._places)
        )

    def copy_as_before(self, buffer: RecordBuffer, model: nn.Module, step: int, scalars: Mapping[str, Any]) -> bool:
        """Copy numbers and tensors to their fields, if all of them are still where they were; whether they were."""
        return self._copy is not None and buffer is self._buffer and self._copy(model, step, scalars)

    def copy_to(self, buffer: RecordBuffer, step: int, scalars: Mapping[str, Any], path: Path) -> None:
        """Look where everything is, and copy it. Raises DeviError for other names or a changed dtype or shape."""
        names = self.layout.scalars
        if scalars.keys() != set(names):
            raise DeviError(
                f"{path}: got scalars {sorted(scalars)}; the first checkpoint fixed them as {sorted(names)}."
                " Give the same ones each time, float('nan') where there is no value."
            )
        buffer.set_numbers(step, *[_number(scalars[name]) for name in names])
        tensors = [owner[key] for owner, key in self._places]
        values = [to_stored(tensor) for tensor in tensors]
        copies = []
        for (_, key), place, found in zip(self._places, buffer.places, values, strict=True):
            if found.shape != place.shape or found.dtype != place.dtype:
                raise DeviError(
                    f"{path}: parameter '{key}' is now {found.dtype} of shape {found.shape}; the run began"
                    f" with {place.dtype} of shape {place.shape}, and a run has one layout."
                    " Record the changed model to another path."
                )
            copies.append((place.bytes, bytes_of(found)))
        for place_bytes, content in copies:
            place_bytes[:] = content
        self.release()
        if all(map(_is_plain, tensors, values)):
            self._copy, self._buffer = self._as_now(buffer, tensors, copies), buffer

    def _as_now(self, buffer: RecordBuffer, tensors: list[Tensor], copies: list[tuple[memoryview, memoryview]]) -> Copy:
        """What copies the next record, as long as the model keeps its tensors' values in this memory.

        Just after a training step none of this is in the caches, and whatever is looked up costs 0.5 µs: so all of it
        stands in one closure, and lists are gone through by C. The copies keep the memory alive: no other tensor can
        come to stand there unnoticed.
        """
        model, dicts, lengths = self._model, self._dicts, self._lengths
        names, set_numbers, get, is_same = self.layout.scalars, buffer.set_numbers, getitem, is_
        owners, keys = [owner for owner, _ in self._places], [key for _, key in self._places]
        families, own_names = [family for family, _, _ in self._children], [name for _, name, _ in self._children]
        children = [child for _, _, child in self._children]
        pointer_of, shape_of, stride_of, dtype_of = Tensor.data_ptr, Tensor.size, Tensor.stride, _dtype_of
        pointers, shapes = list(map(pointer_of, tensors)), list(map(shape_of, tensors))
        strides, dtypes = list(map(stride_of, tensors)), list(map(dtype_of, tensors))

        def copy(now: nn.Module, step: int, scalars: Mapping[str, Any]) -> bool:
            try:
                if (
                    now is not model
                    or tuple(scalars) != names
                    or list(map(len, dicts)) != lengths
                    or not all(map(is_same, map(get, families, own_names), children))
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
            except (KeyError, TypeError, RuntimeError):  # gone, None, or a tensor without memory of its own
                return False
            numbers: Collection[Any] = scalars.values()
            for number in numbers:
                if type(number) is not float:
                    numbers = list(map(_number, numbers))
                    break
            set_numbers(step, *numbers)
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


def _number(value: Any) -> float:
    return value.item() if isinstance(value, Tensor) else float(value)
