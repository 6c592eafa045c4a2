"""Source: copies a model into records, for as long as its tensors are those that the layout was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from devi.checkpoints.record import RecordBuffer, bytes_of
from devi.checkpoints.tensors import layout_of, to_stored, unwrapped
from devi.errors import DeviError


class Source:
    """A model as the origin of records: its layout, and where it keeps the tensor of each field."""

    def __init__(self, model: nn.Module, scalars: Sequence[str]) -> None:
        self.inner = unwrapped(model)
        self.layout, places = layout_of(self.inner, scalars)
        self._origins = [_Origin(*place) for place in places]
        self._model, self._scalars = model, set(scalars)
        modules = list(model.modules())
        self._families = [module._modules for module in modules]
        self._children = [dict(family) for family in self._families]
        self._holders = [holder for module in modules for holder in (module._parameters, module._buffers)]
        self._counts = list(map(len, self._holders))

    def is_still(self, model: nn.Module) -> bool:
        """Whether this is the same model, with the same modules and as many parameters and buffers."""
        return (
            model is self._model and self._families == self._children and list(map(len, self._holders)) == self._counts
        )

    def copy_to(self, buffer: RecordBuffer, step: int, scalars: Mapping[str, float], path: Path) -> None:
        """Copy numbers and tensors to their fields. Raises DeviError for other names or a changed dtype or shape."""
        names = self.layout.scalars
        if scalars.keys() != self._scalars:
            raise DeviError(
                f"{path}: got scalars {sorted(scalars)}; the first checkpoint fixed them as {sorted(names)}."
                " Give the same ones each time, float('nan') where there is no value."
            )
        values = [scalars[name] for name in names]
        buffer.set_numbers(step, [x.item() if isinstance(x, Tensor) else float(x) for x in values])
        for place, origin in zip(buffer.places, self._origins, strict=True):
            tensor = origin.owner[origin.key]
            if not origin.is_same(tensor):
                found = origin.look_at(tensor)
                if found.shape != place.shape or found.dtype != place.dtype:
                    raise DeviError(
                        f"{path}: parameter '{origin.key}' is now {found.dtype} of shape {found.shape}; the run began"
                        f" with {place.dtype} of shape {place.shape}, and a run has one layout."
                        " Record the changed model to another path."
                    )
            place.bytes[:] = origin.bytes if origin.bytes is not None else bytes_of(origin.values)

    def release(self) -> None:
        """Let go of the tensors' memory; the next record looks at them anew."""
        for origin in self._origins:
            origin.release()


class _Origin:
    """Where the model keeps the tensor of a field, and that tensor's values as numpy sees them.

    Looking through numpy's eyes costs 1 µs a tensor, so it is done again only when the tensor or its memory is another.
    """

    def __init__(self, owner: dict[str, Any], key: str) -> None:
        self.owner, self.key = owner, key
        self.values = np.zeros(0)
        self.bytes: memoryview | None = None  # of `values`, if they are contiguous
        self._tensor: Tensor | None = None

    def is_same(self, tensor: Tensor) -> bool:
        # `values` keep their memory alive, so that another tensor cannot come to stand there
        return (
            tensor is self._tensor
            and tensor.data_ptr() == self._pointer
            and tensor.shape == self._shape
            and tensor.stride() == self._stride
            and tensor.dtype is self._dtype
        )

    def release(self) -> None:
        self._tensor, self.values, self.bytes = None, np.zeros(0), None

    def look_at(self, tensor: Tensor) -> np.ndarray:
        self._tensor = None
        self.values = values = to_stored(tensor)
        self.bytes = bytes_of(values) if values.flags.c_contiguous else None
        # complex tensors can be conjugated lazily in the same memory, and what is on a device was copied
        if not tensor.is_complex() and self.values.ctypes.data == tensor.data_ptr():
            self._tensor, self._pointer = tensor, tensor.data_ptr()
            self._shape, self._stride, self._dtype = tensor.shape, tensor.stride(), tensor.dtype
        return values
