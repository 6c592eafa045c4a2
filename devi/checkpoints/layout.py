"""Layout: where everything stands in the bytes of one checkpoint.

    step i64 | scalars f64 … | one field per parameter and buffer, its own dtype and shape | digest u8[16]

Every field starts at a multiple of 8 bytes (of 16 for complex128), so that a memory map of a segment gives aligned
views; the gaps are zeros and are part of what is hashed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

DIGEST_BYTES = 16
# numpy keeps the size of a dtype in a C int. (HDF5 would have 32 bits for it.)
MOST_RECORD_BYTES = 2**31 - 1
MOST_AXES = 32  # HDF5's

NUMPY_KNOWS = frozenset(
    [
        *("float16", "float32", "float64", "complex64", "complex128", "bool"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    ]
)
# torch dtypes that numpy has no name for are stored as their bits; the real dtype stands in the JSON.
_AS_BITS = {
    "bfloat16": "<u2",
    "complex32": "<u4",
    **{f"float8_{kind}": "|u1" for kind in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")},
    **{f"{kind}{bits}": "|u1" for kind in ("int", "uint") for bits in range(1, 8)},
    **dict.fromkeys(("float4_e2m1fn_x2", "bits8", "bits1x8", "bits2x4", "bits4x2"), "|u1"),
    "bits16": "<u2",
}


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

    @cached_property
    def parameters(self) -> dict[str, Stored]:
        return {tensor.name: tensor for tensor in self.tensors if not tensor.is_buffer}

    @cached_property
    def buffers(self) -> dict[str, Stored]:
        return {tensor.name: tensor for tensor in self.tensors if tensor.is_buffer}

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
            if not all(type(size) is int and 0 <= size < 2**32 for size in shape) or len(shape) > MOST_AXES:
                raise ValueError(f"tensor {item['name']!r} has shape {shape}")
            field = None if item["field"] is None else str(item["field"])
            # of an array without elements numpy still multiplies the other lengths
            is_huge = math.prod(size for size in shape if size) > MOST_RECORD_BYTES
            if (field is None) != (math.prod(shape) == 0) or is_huge:
                raise ValueError(f"tensor {item['name']!r} of shape {shape} has field {field!r}")
            tied = tuple(str(name) for name in item["tied"])
            stored_dtype(item["dtype"])
            tensors.append(Stored(str(item["name"]), item["dtype"], shape, field, bool(item["buffer"]), tied))
        layout = cls(scalars, tuple(tensors))
        names = [name for tensor in tensors for name in (tensor.name, *tensor.tied)]
        if len(set(names)) < len(names):
            raise ValueError("two tensors have one name")
        if layout.dtype.itemsize > MOST_RECORD_BYTES or layout.to_json() != record:
            raise ValueError("the record's fields do not follow from its tensors")
        return layout


def stored_dtype(name: str) -> np.dtype:
    """The numpy dtype under which a torch dtype is stored. Raises ValueError for one that cannot be."""
    if name in NUMPY_KNOWS:
        return np.dtype(name).newbyteorder("<")
    if name in _AS_BITS:
        return np.dtype(_AS_BITS[name])
    raise ValueError(f"no storable dtype is called {name!r}")
