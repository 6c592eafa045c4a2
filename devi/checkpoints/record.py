"""Record: the byte layout of one checkpoint, and the digest that proves it whole.

    step i64 | scalars f64 … | one field per parameter and buffer, its own dtype and shape | digest u8[16]

Every field starts at a multiple of 8 bytes (of 16 for complex128), so that a memory map of a segment gives aligned
views; the gaps are zeros and are part of what is hashed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor, nn

from devi.errors import DeviError

DIGEST_BYTES = 16
# HDF5 keeps the size of a datatype in 32 bits.
MOST_RECORD_BYTES = 2**32 - 1

# torch dtypes that numpy has no name for are stored as their bits; the real dtype stands in the JSON.
_AS_BITS = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32}
_NUMPY_KNOWS = frozenset(
    [
        *("float16", "float32", "float64", "complex64", "complex128", "bool"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    ]
)


@dataclass(frozen=True)
class Stored:
    """One named tensor of the model. `field` is where it stands in the record, None if it has no elements."""

    name: str
    dtype: str  # as torch names it, 'bfloat16'
    shape: tuple[int, ...]
    field: str | None
    is_buffer: bool = False
    tied: tuple[str, ...] = ()  # other names of the same tensor

    @property
    def numpy_dtype(self) -> np.dtype:
        """What the file holds: the dtype itself, or unsigned integers of its size."""
        return stored_dtype(self.dtype)


@dataclass(frozen=True)
class Layout:
    """Where everything stands in a record."""

    scalars: tuple[str, ...]
    tensors: tuple[Stored, ...]

    @cached_property
    def dtype(self) -> np.dtype:
        """The record as a numpy dtype; `digest` is its last field."""
        fields: list[tuple[str, Any]] = [("step", "<i8"), *((name, "<f8") for name in self.scalars)]
        fields += [(t.field, (t.numpy_dtype, t.shape)) for t in self.tensors if t.field is not None]
        fields.append(("digest", ("u1", (DIGEST_BYTES,))))
        offsets, end = [], 0
        for _, form in fields:
            one = np.dtype(form)
            start = -(-end // 8) * 8 if one.base.itemsize < 16 else -(-end // 16) * 16
            offsets.append(start)
            end = start + one.itemsize
        names, formats = [name for name, _ in fields], [form for _, form in fields]
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": end})

    def to_json(self) -> dict[str, Any]:
        """The `record` entry of a segment's JSON."""
        fields: Any = self.dtype.fields
        return {
            "itemsize": self.dtype.itemsize,
            "fields": [
                [name, fields[name][0].base.str, list(fields[name][0].shape), fields[name][1]]
                for name in self.dtype.names or ()
            ],
            "scalars": list(self.scalars),
            "tensors": [
                {
                    "name": t.name,
                    "dtype": t.dtype,
                    "shape": list(t.shape),
                    "field": t.field,
                    "buffer": t.is_buffer,
                    "tied": list(t.tied),
                }
                for t in self.tensors
            ],
        }

    @classmethod
    def from_json(cls, record: Any) -> Layout:
        """The layout that a segment's JSON describes. Raises ValueError for anything `to_json` would not write."""
        scalars = tuple(str(name) for name in record["scalars"])
        tensors = []
        for item in record["tensors"]:
            shape = tuple(item["shape"])
            if not all(type(size) is int and 0 <= size < 2**32 for size in shape) or len(shape) > 32:
                raise ValueError(f"tensor {item['name']!r} has shape {shape}")
            field = None if item["field"] is None else str(item["field"])
            if (field is None) != (math.prod(shape) == 0) or math.prod(shape) > MOST_RECORD_BYTES:
                raise ValueError(f"tensor {item['name']!r} of shape {shape} has field {field!r}")
            tied = tuple(str(name) for name in item["tied"])
            stored_dtype(item["dtype"])
            tensors.append(Stored(str(item["name"]), item["dtype"], shape, field, bool(item["buffer"]), tied))
        layout = cls(scalars, tuple(tensors))
        if layout.dtype.itemsize > MOST_RECORD_BYTES or layout.to_json() != record:
            raise ValueError("the record's fields do not follow from its tensors")
        return layout


def stored_dtype(name: str) -> np.dtype:
    """The numpy dtype under which a torch dtype is stored. Raises ValueError for one that cannot be."""
    dtype = getattr(torch, name, None) if isinstance(name, str) else None
    if not isinstance(dtype, torch.dtype) or name.startswith("q") or str(dtype) != f"torch.{name}":
        raise ValueError(f"no storable dtype is called {name!r}")
    if name in _NUMPY_KNOWS:
        return np.dtype(name).newbyteorder("<")
    if dtype.itemsize not in _AS_BITS:
        raise ValueError(f"no storable dtype is called {name!r}")
    return np.dtype(f"<u{dtype.itemsize}")


def to_stored(tensor: Tensor) -> np.ndarray:
    """The tensor's values, or bits where numpy lacks its dtype, on the CPU; shares memory with a CPU tensor."""
    tensor = tensor.detach()
    if tensor.device.type != "cpu":
        tensor = tensor.cpu()
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    try:
        return tensor.numpy()
    except TypeError:
        return tensor.view(_AS_BITS[tensor.element_size()]).numpy()


def from_stored(values: np.ndarray, dtype: str) -> Tensor:
    """The tensor of torch dtype `dtype` whose stored values or bits are `values`; a copy."""
    tensor = torch.from_numpy(np.array(values, dtype=values.dtype.newbyteorder("="), order="C"))
    wanted = getattr(torch, dtype)
    return tensor if tensor.dtype == wanted else tensor.view(wanted)


def to_values(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers for numpy: as stored, or widened exactly (bfloat16 and float8 to float32, complex32 to complex64)."""
    if dtype in _NUMPY_KNOWS:
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
    """The module under torch.compile and (Distributed)DataParallel, whose wrappers only prefix the names."""
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


def layout_of(model: nn.Module, scalars: Sequence[str]) -> tuple[Layout, list[tuple[dict[str, Any], str]]]:
    """The record layout for a model and scalar names, and for each field of a tensor where the model keeps it.

    Raises DeviError for a tensor that has no dense bytes, and for a scalar that takes a name of the format.
    """
    for name in scalars:
        if name in ("step", "digest"):
            raise DeviError(
                f"a scalar is called '{name}', which the checkpoint format uses itself. Call it something else."
            )
    first: dict[int, str] = {}
    tied: dict[str, list[str]] = {}
    found: list[tuple[str, Tensor, bool, tuple[dict[str, Any], str]]] = []
    for name, owner, key, is_buffer in named_tensors(model):
        tensor = owner[key]
        if id(tensor) in first:
            tied[first[id(tensor)]].append(name)
            continue
        _check_storable(name, tensor)
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
            places.append(place)
        dtype = str(tensor.dtype).removeprefix("torch.")
        tensors.append(Stored(name, dtype, tuple(tensor.shape), field, is_buffer, tuple(tied[name])))
    layout = Layout(tuple(scalars), tuple(tensors))
    if layout.dtype.itemsize > MOST_RECORD_BYTES:
        raise DeviError(
            f"one checkpoint of this model takes {layout.dtype.itemsize / 2**30:.1f} GiB; a record holds less than"
            " 4 GiB. devi is for small models: record a part of this one, record(step, model.part)."
        )
    return layout, places


def _check_storable(name: str, tensor: Tensor) -> None:
    if isinstance(tensor, nn.parameter.UninitializedParameter | nn.parameter.UninitializedBuffer):
        raise DeviError(f"'{name}' has no shape yet (a lazy module). Run one batch through the model before recording.")
    kind = "sparse" if tensor.layout != torch.strided else "quantized" if tensor.is_quantized else tensor.device.type
    if kind in ("sparse", "quantized", "meta"):
        raise DeviError(f"'{name}' is a {kind} tensor, which has no plain values to store. Make it a dense one.")
    try:
        stored_dtype(str(tensor.dtype).removeprefix("torch."))
    except ValueError:
        raise DeviError(
            f"'{name}' has dtype {tensor.dtype}, which checkpoints cannot hold. Convert it, for example to float32."
        ) from None


class RecordBuffer:
    """salt | index | record in one piece of memory, so that a record costs one hash and one write."""

    def __init__(self, layout: Layout, salt: bytes) -> None:
        size = layout.dtype.itemsize
        # 8 spare bytes in front put the record itself at a multiple of 16.
        self._memory = np.zeros(8 + 16 + 8 + size, np.uint8)
        self._prefix = self._memory[8:32]
        self._index = self._memory[24:32].view("<i8")
        self.bytes = self._memory[32:]
        self.record = self.bytes.view(layout.dtype)[0]
        self._hashed = self._memory.data[8:-DIGEST_BYTES]
        self._digest = self._memory[-DIGEST_BYTES:]
        fields: Any = layout.dtype.fields
        self.step = _view(self.bytes, fields["step"])
        self.scalars = [_view(self.bytes, fields[name]) for name in layout.scalars]
        self.tensors = [_view(self.bytes, fields[t.field]) for t in layout.tensors if t.field is not None]
        self.set_salt(salt)

    def set_salt(self, salt: bytes) -> None:
        self._prefix[:16] = np.frombuffer(salt, np.uint8)

    def seal(self, index: int) -> None:
        """Write the digest of the record as number `index` of its segment."""
        self._index[0] = index
        self._digest[:] = np.frombuffer(xxhash.xxh3_128_digest(self._hashed), np.uint8)


def _view(memory: np.ndarray, field: Any) -> np.ndarray:
    form, offset = field[0], field[1]
    return memory[offset : offset + form.itemsize].view(form.base).reshape(form.shape)


def digest_of(salt: bytes, index: int, record: memoryview) -> bytes:
    """XXH3-128 over salt, index (i64, little-endian) and the record without its digest."""
    state = xxhash.xxh3_128(salt)
    state.update(index.to_bytes(8, "little"))
    state.update(record[:-DIGEST_BYTES])
    return state.digest()


def describe_difference(layout: Layout, stored: np.void, new: np.void) -> str:
    """Which fields differ, and by how much, in words: 'W by up to 1e-7, train_loss by up to 3e-9'."""
    words = []
    kinds: Mapping[str | None, str] = {t.field: t.dtype for t in layout.tensors}
    for name in (layout.dtype.names or ())[1:-1]:
        a, b = (np.asarray(record[name]) for record in (stored, new))
        if a.tobytes() != b.tobytes():
            a, b = (np.atleast_1d(to_values(x, kinds.get(name, "float64"))).astype(complex) for x in (a, b))
            words.append(f"{name} by up to {np.nanmax(np.abs(a - b), initial=0.0):.1e}")
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")
