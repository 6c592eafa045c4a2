"""Slot file: what a resume slot holds, checked byte for byte before anything is made of it; needs no torch, no h5py.

The user block's JSON names the arrays: dtype, shape, offset, SHA-256. `recorded` is the run's last checkpoint when the
state was taken, which keep() may do later than that; older slots do not say it, and count as taken at a checkpoint.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from devi.checkpoints.userblock import BlockError, open_regular, read_all, read_front

SCHEMA = "devi/resume/1"
SLOTS = ("resume-0.h5", "resume-1.h5")
_MOST_AXES = 32


class SlotFile(NamedTuple):
    """A slot of which every array is intact. `structure` says how they are put together (state.decode)."""

    step: int
    recorded: int
    counter: int
    run_id: str
    structure: dict[str, Any]
    arrays: list[np.ndarray]


def counter_of(path: Path) -> int | None:
    """The counter that a slot's description gives, without a look at its arrays; None if it gives none."""
    return _told(path, "counter")


def step_of(folder: Path) -> int | None:
    """The step that a run's newest slot says it stands at, without a look at its arrays; None if none does."""
    newest = max(
        (folder / name for name in SLOTS), key=lambda slot: -1 if (count := counter_of(slot)) is None else count
    )
    return _told(newest, "step")


def _told(path: Path, name: str) -> int | None:
    try:
        descriptor = open_regular(path)
        try:
            number = read_front(descriptor, os.fstat(descriptor).st_size).get(name)
        finally:
            os.close(descriptor)
    except (BlockError, OSError):
        return None
    return number if _is_count(number) else None


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 <= number < 2**63


def read_slot_file(path: Path) -> SlotFile:
    """Raises BlockError if any byte that is used is damaged, OSError if there is no such file."""
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        content = read_front(descriptor, size)
        try:
            if content["schema"] != SCHEMA:
                raise BlockError(f"schema {content['schema']!r} is not the one this devi reads ({SCHEMA})")
            step, counter, structure = content["step"], content["counter"], content["structure"]
            recorded = content.get("recorded", step)
            for name, number in (("step", step), ("counter", counter), ("last recorded step", recorded)):
                if not _is_count(number):
                    raise BlockError(f"its {name}, {number!r}, is not a whole number from 0 on")
            if type(structure) is not dict or type(structure["state"]) is not dict:
                raise BlockError("it has no structure")
            arrays: list[np.ndarray] = []
            free = size  # each byte may be in one array only: many could share one, and fill memory
            for place in content["arrays"]:
                arrays.append(_read_array(descriptor, free, size, place))
                free -= arrays[-1].nbytes
            return SlotFile(step, recorded, counter, str(content["run_id"]), structure, arrays)
        except BlockError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise BlockError(f"its JSON does not describe a resume slot: {error!r}"[:200]) from None
    finally:
        os.close(descriptor)


def _read_array(descriptor: int, free: int, size: int, place: dict[str, Any]) -> np.ndarray:
    shape, offset = place["shape"], place["offset"]
    if type(place["dtype"]) is not str or not all(type(length) is int for length in [*shape, offset]):
        raise BlockError(f"an array of dtype {place['dtype']!r} and shape {shape!r} at {offset!r} is none")
    dtype = np.dtype(place["dtype"])
    # Python's integers: numpy's product could wrap around; of the lengths of an empty array it multiplies the others
    span, largest = dtype.itemsize, dtype.itemsize
    for length in shape:
        span, largest = span * length, largest * max(length, 1)
    if dtype.kind not in "biufc" or len(shape) > _MOST_AXES or min(shape, default=0) < 0 or largest >= 2**63:
        raise BlockError(f"an array of dtype {dtype} and shape {shape} is none")
    if not (span <= free and 0 <= offset <= size - span):
        raise BlockError(f"an array of {span} bytes at {offset} does not fit into the file")
    data = np.zeros(span, np.uint8)
    read_all(descriptor, data.data, offset)
    if hashlib.sha256(data.data).hexdigest() != place["sha256"]:
        raise BlockError(f"the SHA-256 of the array at byte {offset} is wrong")
    return data.view(dtype).reshape(shape)
