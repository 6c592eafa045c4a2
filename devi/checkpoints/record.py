"""Record: the bytes of one checkpoint in memory, and the digest that proves them whole."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xxhash

from devi.checkpoints.layout import DIGEST_BYTES, Layout

_INDEX = struct.Struct("<q")


class RecordBuffer:
    """salt | index | record in one piece of memory, so that a record costs one hash and one write.

    set_numbers   (index, step, *scalars): put them into their fields; `seal` sets the index once more
    hashed        what the digest is of, all but itself; `digest` is where it goes
    """

    def __init__(self, layout: Layout, salt: bytes) -> None:
        size = layout.dtype.itemsize
        # 8 spare bytes in front put the record itself at a multiple of 16.
        array = np.zeros(8 + 16 + 8 + size, np.uint8)
        self._memory = memory = array.data
        self.bytes, self.hashed, self.digest = memory[32:], memory[8:-DIGEST_BYTES], memory[-DIGEST_BYTES:]
        self.record = array[32:].view(layout.dtype)[0]
        fields: Any = layout.dtype.fields
        self.places = [_place(self.bytes, fields[t.field]) for t in layout.tensors if t.field is not None]
        self.set_numbers: Callable[..., None] = partial(
            struct.Struct(f"<qq{len(layout.scalars)}d").pack_into, memory, 24
        )
        self.set_salt(salt)

    def set_salt(self, salt: bytes) -> None:
        self._memory[8:24] = salt

    def seal(self, index: int) -> None:
        """Write the digest of the record as number `index` of its segment."""
        _INDEX.pack_into(self._memory, 24, index)
        self.digest[:] = xxhash.xxh3_128_digest(self.hashed)


class Place(NamedTuple):
    """Where a tensor's values stand in a record's bytes."""

    bytes: memoryview
    dtype: np.dtype
    shape: tuple[int, ...]


def _place(record: memoryview, field: Any) -> Place:
    form, offset = field[0], field[1]
    return Place(record[offset : offset + form.itemsize], form.base, form.shape)


def bytes_of(values: np.ndarray) -> memoryview:
    """The bytes of an array in C order: its own memory if they stand there so, else of a copy."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def digest_of(salt: bytes, index: int, record: memoryview) -> bytes:
    """XXH3-128 over salt, index (i64, little-endian) and the record without its digest."""
    state = xxhash.xxh3_128(salt)
    state.update(index.to_bytes(8, "little"))
    state.update(record[:-DIGEST_BYTES])
    return state.digest()
