"""Source: copies a model into records, for as long as its tensors are those that the layout was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from devi.checkpoints.record import RecordBuffer
from devi.checkpoints.tensors import layout_of, to_stored, unwrapped
from devi.errors import DeviError


class Source:
    """A model as the origin of records: its layout, and where it keeps the tensor of each field."""

    def __init__(self, model: nn.Module, scalars: Sequence[str]) -> None:
        self.inner = unwrapped(model)
        self.layout, self._places = layout_of(self.inner, scalars)
        self._model = model
        modules = list(model.modules())
        self._families = [module._modules for module in modules]
        self._children = self._present()
        self._holders = [holder for module in modules for holder in (module._parameters, module._buffers)]
        self._count = sum(map(len, self._holders))

    def is_still(self, model: nn.Module) -> bool:
        """Whether this is the same model, with the same modules and as many parameters and buffers."""
        return (
            model is self._model and self._present() == self._children and sum(map(len, self._holders)) == self._count
        )

    def _present(self) -> list[nn.Module | None]:
        return [child for family in self._families for child in family.values()]

    def copy_to(self, buffer: RecordBuffer, scalars: Mapping[str, float], path: Path) -> None:
        """Copy numbers and tensors to their fields. Raises DeviError for other names or a changed dtype or shape."""
        names = self.layout.scalars
        if scalars.keys() != set(names):
            raise DeviError(
                f"{path}: got scalars {sorted(scalars)}; the first checkpoint fixed them as {sorted(names)}."
                " Give the same ones each time, float('nan') where there is no value."
            )
        for view, name in zip(buffer.scalars, names, strict=True):
            value = scalars[name]
            view[...] = value.item() if isinstance(value, Tensor) else float(value)
        for view, (owner, key) in zip(buffer.tensors, self._places, strict=True):
            tensor = to_stored(owner[key])
            if tensor.shape != view.shape or tensor.dtype != view.dtype:  # copyto would broadcast and convert
                raise DeviError(
                    f"{path}: parameter '{key}' is now {tensor.dtype} of shape {tensor.shape}; the run began with"
                    f" {view.dtype} of shape {view.shape}, and a run has one layout."
                    " Record the changed model to another path."
                )
            np.copyto(view, tensor)
