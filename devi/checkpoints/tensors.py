"""Tensors: those of a model by name, and their values as numpy stores them and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from devi.checkpoints.layout import MOST_AXES, MOST_RECORD_BYTES, NUMPY_KNOWS, Layout, Stored, stored_dtype
from devi.errors import DeviError, shown, wrong_kind

_UNSIGNED = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32}


def to_stored(tensor: Tensor) -> np.ndarray:
    """The tensor's values, or bits where numpy lacks its dtype, on the CPU; shares memory with a CPU tensor."""
    tensor = tensor.detach()
    try:
        return tensor.numpy()  # first, because it is the usual case and runs for every tensor of every checkpoint
    except (TypeError, RuntimeError):  # on a device, lazily conjugated or negated, or of a dtype unknown to numpy
        tensor = tensor.cpu().resolve_conj().resolve_neg()
    try:
        return tensor.numpy()
    except TypeError:
        return tensor.view(_UNSIGNED[tensor.element_size()]).numpy()


def from_stored(values: np.ndarray, dtype: str) -> Tensor:
    """The tensor of torch dtype `dtype` whose stored values or bits are `values`; a copy if those are read-only."""
    tensor = torch.from_numpy(np.require(values, values.dtype.newbyteorder("="), ["C", "W", "A"]))
    wanted = getattr(torch, dtype)
    return tensor if tensor.dtype == wanted else tensor.view(wanted)


def to_values(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers for numpy: as stored, or widened exactly (bfloat16 and float8 to float32, complex32 to complex64)."""
    if dtype in NUMPY_KNOWS:
        return stored
    if dtype == "bfloat16":  # its bits are the upper half of a float32's
        return (stored.astype(np.uint32) << 16).view(np.float32)
    tensor = from_stored(stored, dtype)
    if dtype == "complex32":
        return torch.view_as_real(tensor).float().numpy().view(np.complex64)[..., 0]
    if getattr(torch, dtype).is_floating_point and dtype.startswith("float8"):
        return tensor.float().numpy()
    return stored  # packed 4-bit floats and the like: their bits


def unwrapped(model: nn.Module) -> nn.Module:
    """The module under torch.compile and (Distributed)DataParallel, whose wrappers only prefix the names.

    Raises DeviError for what is no module: a state_dict, a class.
    """
    if not isinstance(model, nn.Module):
        raise wrong_kind("the model", model, "a torch.nn.Module, the model itself: record(step, model).")
    while True:
        if isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod  # type: ignore[assignment]
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def named_tensors(model: nn.Module) -> Iterator[tuple[str, dict[str, Any], str, bool]]:
    """(full name, the dict that owns the tensor, key there, is_buffer) of parameters, then persistent buffers.

    Tied tensors come once for each of their names.
    """
    modules = list(model.named_modules(remove_duplicate=False))
    for prefix, module in modules:
        for key, tensor in module._parameters.items():
            if tensor is not None:
                yield f"{prefix}.{key}" if prefix else key, module._parameters, key, False
    for prefix, module in modules:
        for key, tensor in module._buffers.items():
            if tensor is not None and key not in module._non_persistent_buffers_set:
                yield f"{prefix}.{key}" if prefix else key, module._buffers, key, True


def _is_text(name: str) -> bool:
    """Whether it can be written: nothing cannot, nor half of a surrogate pair."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def layout_of(model: nn.Module, scalars: Sequence[str]) -> tuple[Layout, list[tuple[dict[str, Any], str]]]:
    """The record layout for a model and scalar names, and for each field of a tensor where the model keeps it.

    Raises DeviError for a tensor that has no dense bytes, and for a name that no field of a file can have.
    """
    in_file = {name: name for name in ("", "step", "digest")}  # HDF5 ends a name at its first NUL
    for name in scalars:
        if name in ("step", "digest"):
            raise DeviError(
                f"a scalar is called '{name}', which the checkpoint format uses itself. Call it something else."
            )
        if not _is_text(name):
            raise DeviError(f"a scalar is called {shown(repr(name))}, which no file can hold. Call it something else.")
        _claim(name, name, in_file)
    first: dict[int, str] = {}
    tied: dict[str, list[str]] = {}
    found: list[tuple[str, Tensor, bool, tuple[dict[str, Any], str]]] = []
    for name, owner, key, is_buffer in named_tensors(model):
        tensor = owner[key]
        if not _is_text(name):
            raise DeviError(f"a parameter or buffer is called {shown(repr(name))}, which no file can hold. Rename it.")
        if id(tensor) in first:
            tied[first[id(tensor)]].append(name)
            continue
        check_storable(name, tensor)
        first[id(tensor)] = name
        tied[name] = []
        found.append((name, tensor, is_buffer, (owner, key)))
    taken = {"step", "digest", *scalars}
    tensors, places = [], []
    for name, tensor, is_buffer, place in found:
        field: str | None = name
        while field in taken:  # a parameter may be called 'step'; its field is then 'step_', the JSON says which
            field = f"{field}_"
        if tensor.numel() == 0:  # HDF5 has no array type without elements
            field = None
        else:
            taken.add(str(field))
            _claim(name, str(field), in_file)
            places.append(place)
        dtype = str(tensor.dtype).removeprefix("torch.")
        tensors.append(Stored(name, dtype, tuple(tensor.shape), field, is_buffer, tuple(tied[name])))
    size = sum(tensor.nbytes for _, tensor, _, _ in found) + 16 * (len(found) + len(scalars) + 2)
    if size > MOST_RECORD_BYTES:
        raise DeviError(
            f"one checkpoint of this model takes {size / 2**30:.1f} GiB; a record holds less than"
            " 2 GiB. devi is for small models: record a part of this one, record(step, model.part)."
        )
    return Layout(tuple(scalars), tuple(tensors)), places


def _claim(name: str, field: str, in_file: dict[str, str]) -> None:
    """Take the field's name as the file has it. Raises DeviError if it is taken."""
    short = field.partition("\0")[0]
    if short in in_file:
        raise DeviError(
            f"{shown(repr(name))} cannot be told from {shown(repr(in_file[short]))} in a file: HDF5 ends a name"
            " where a NUL character stands. Expected names without one: rename it."
        )
    in_file[short] = name


def check_storable(name: str, tensor: Tensor) -> None:
    """Raise DeviError, by its name, for a tensor whose values a record cannot hold."""
    if isinstance(tensor, nn.parameter.UninitializedParameter | nn.parameter.UninitializedBuffer):
        raise DeviError(f"'{name}' has no shape yet (a lazy module). Run one batch through the model before recording.")
    if type(tensor) not in (Tensor, nn.Parameter) and (kind := _valueless(tensor)):
        raise DeviError(
            f"'{name}' is a {kind}, which has no plain values to store. Expected a torch.Tensor or nn.Parameter itself:"
            " record a model made of those."
        )
    is_sparse = tensor.layout != torch.strided
    kind = "sparse" if is_sparse else "quantized" if tensor.is_quantized else tensor.device.type
    if tensor.is_nested or kind in ("sparse", "quantized", "meta"):
        kind = "nested" if tensor.is_nested else kind
        raise DeviError(f"'{name}' is a {kind} tensor, which has no plain values to store. Make it a dense one.")
    if tensor.dim() > MOST_AXES:
        raise DeviError(f"'{name}' has {tensor.dim()} axes; a file holds at most {MOST_AXES}. Reshape it to fewer.")
    try:
        stored_dtype(str(tensor.dtype).removeprefix("torch."))
    except ValueError:
        raise DeviError(
            f"'{name}' has dtype {tensor.dtype}, which checkpoints cannot hold. Convert it, for example to float32."
        ) from None


def _valueless(tensor: Tensor) -> str:
    """The class of a tensor of another class than torch's own whose values cannot be had; empty if they can be."""
    try:
        to_stored(tensor)
    except Exception:  # whatever its class makes of being read
        return type(tensor).__name__
    return ""
