"""Source: copies a model's tensors into a record, for as long as they are those that the layout was made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from devi.checkpoints.tensors import layout_of, to_stored, unwrapped
from devi.errors import DeviError


class Source:
    """A model as the origin of records: its layout, and where it keeps the tensor of each field."""

    def __init__(self, model: nn.Module, scalars: Sequence[str]) -> None:
        self._model = model
        self._inner = unwrapped(model)
        self.layout, self._places = layout_of(self._inner, scalars)
        self._signature = _signature(self._inner)

    def is_still(self, model: nn.Module) -> bool:
        """Whether this is the same model, with the same modules and as many parameters and buffers."""
        return model is self._model and _signature(unwrapped(model)) == self._signature

    def copy_to(self, views: Sequence[np.ndarray], path: Path) -> None:
        """Copy each tensor to its field. Raises DeviError for one that changed its dtype or shape."""
        for view, (owner, key) in zip(views, self._places, strict=True):
            tensor = to_stored(owner[key])
            if tensor.shape != view.shape or tensor.dtype != view.dtype:  # copyto would broadcast and convert
                raise DeviError(
                    f"{path}: parameter '{key}' is now {tensor.dtype} of shape {tensor.shape}; the run began with"
                    f" {view.dtype} of shape {view.shape}, and a run has one layout."
                    " Record the changed model to another path."
                )
            np.copyto(view, tensor)


def _signature(model: nn.Module) -> tuple[list[nn.Module], int]:
    """Changes when a module is replaced or a parameter or buffer comes or goes; a few tenths of a µs per module."""
    modules = [model]
    for module in modules:  # grows while it is walked
        modules.extend(child for child in module._modules.values() if child is not None)
    return modules, sum(len(module._parameters) + len(module._buffers) for module in modules)
