"""Steady: records a model that is the same as before, with its values where they were, behind the record before.

That is nearly every record of a run, and training waits for it. Just after a training step none of this is in the
caches: whatever is looked up costs 0.5 µs, a call of Python's another. So all of it stands in one closure, and lists
are gone through by C. Whatever is not as before takes the long way: Recorder, Source.copy_to, Store.append.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Collection, Mapping
from operator import getitem, is_
from typing import Any

import xxhash
from torch import Tensor, nn

from devi.checkpoints.source import Still, number
from devi.checkpoints.store import Store

Steady = Callable[[int, nn.Module, Mapping[str, Any]], bool]
_MISFITS = (KeyError, TypeError, ValueError, RuntimeError, OverflowError, struct.error)


def steady(still: Still, store: Store, attend: Callable[[int], float]) -> Steady:
    """What records (step, model, scalars) into the segment that is open, and tells whether it did.

    attend   (step): do what is due, and return the time (monotonic) when something will be next
    """
    model, families, children, dicts, contents, names, owners, keys, copies = still
    buffer, segment, get = store.buffer, store.segment, getitem
    assert segment is not None
    put, start, records = segment.room.put, segment.header.data_offset, segment.header.records
    set_numbers, content, hashed, place_of_digest = buffer.set_numbers, buffer.bytes, buffer.hashed, buffer.digest
    size, digest, now, due = len(content), xxhash.xxh3_128_digest, time.monotonic, 0.0
    pointer_of, shape_of, stride_of = Tensor.data_ptr, Tensor.size, Tensor.stride
    dtype_of: Any = Tensor.dtype.__get__  # type: ignore[attr-defined]
    sizes, is_same = list(map(len, families)), is_
    kin, own_names = [family for family, _, _ in children], [name for _, name, _ in children]
    modules = [module for _, _, module in children]
    tensors = list(map(get, owners, keys))
    pointers, shapes = list(map(pointer_of, tensors)), list(map(shape_of, tensors))
    strides, dtypes = list(map(stride_of, tensors)), list(map(dtype_of, tensors))

    def record(step: int, given: nn.Module, scalars: Mapping[str, Any]) -> bool:
        nonlocal due
        used = store.used
        try:
            if (
                given is not model
                or step <= store.last_step  # type: ignore[operator]  # there is a record before
                or tuple(scalars) != names
                or store.segment is not segment
                or used == records
                or store.is_mid_record
                or list(map(len, families)) != sizes
                or not all(map(is_same, map(get, kin, own_names), modules))
                or dicts != contents  # the same tensors; those of one element are compared by value, and below
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
            for value in numbers:
                if type(value) is not float:
                    numbers = list(map(number, numbers))
                    break
            set_numbers(used, step, *numbers)
        except _MISFITS:  # a tensor is gone, None or without memory of its own; a number is none: the long way says so
            return False
        for place, values in copies:
            place[:] = values
        place_of_digest[:] = digest(hashed)
        store.is_mid_record = True
        put(content, start + used * size)
        store.used, store.last_step, store.is_unsynced, store.is_mid_record = used + 1, step, True, False
        if used + 1 >= store.turn or now() >= due:
            due = attend(step)
        return True

    return record
