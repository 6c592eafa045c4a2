"""Scan: which records of a segment are whole, and what is wrong with the others."""

from __future__ import annotations

import errno
import os
import struct
from itertools import repeat
from typing import NamedTuple

import numpy as np
import xxhash

from devi.checkpoints.header import Finding, Header
from devi.checkpoints.layout import DIGEST_BYTES

_PIECE_BYTES = 1 << 20
_GLANCE_BYTES = 1 << 16
_SMALL_PIECE_BYTES = 1 << 17  # stays in the cache while it is hashed: 10,000 records of 104 bytes take 0.2 ms less
# Records up to this size are read and hashed many at a time: Python's cost of one would exceed that of its hash.
SMALL_BYTES = 4096


class Scan(NamedTuple):
    """The whole records of a segment, or of its part from `start` on."""

    places: np.ndarray  # (record,) where in the segment
    steps: np.ndarray  # (record,)
    digests: np.ndarray  # (record, 16)
    findings: list[Finding]
    end: int  # the first place that a writer may still fill: who looks again from there misses nothing


def scan(
    descriptor: int,
    header: Header,
    name: str,
    *,
    start: int = 0,
    after_step: int | None = None,
    is_complete: bool,
) -> Scan:
    """Check every record's digest, and that steps increase from 0.

    is_complete   every place was used (a closed segment, or not the last one): what is missing is damage
    """
    steps, stated, is_right = _looked_at(descriptor, header, start, is_complete)
    if is_complete and is_right.all() and is_increasing(steps, after_step):  # as nearly always: nothing to sort out
        return Scan(start + np.arange(len(steps)), steps, stated, [], header.records)
    last = _last(is_right)
    if not is_complete:
        # A writer may have committed these after they were read here and before later ones were.
        for row in np.flatnonzero(~is_right[: last + 1]).tolist():
            again = _hashed(descriptor, header, start + row, start + row + 1)
            steps[row], stated[row], is_right[row] = (values[0] for values in again)
    reasons = _out_of_order(steps, is_right, after_step)
    is_right[list(reasons)] = False
    last = _last(is_right)
    wrong = np.flatnonzero(~is_right)
    if not is_complete and not (stated[last + 1 :].any() or _has_data(descriptor, header, start + last + 1, None)):
        wrong = wrong[wrong < last]  # places after the last record are free
    findings = []
    for row in wrong.tolist():
        is_torn = row > last and not is_complete
        if stated[row].any():
            reason = reasons.get(row, "its digest is wrong")
        elif is_complete or _has_data(descriptor, header, start + row, start + row + 1):
            reason = "it has no digest"
        elif is_torn:
            continue
        else:
            reason = "it is empty, between records that are not"
        findings.append(Finding("torn" if is_torn else "damaged", name, start + row, int(steps[row]) or None, reason))
    end = header.records if is_complete else start + last + 1
    return Scan(start + np.flatnonzero(is_right), steps[is_right], stated[is_right], findings, end)


def believed(descriptor: int, header: Header, after_step: int | None) -> Scan | None:
    """Every record of the segment with step and digest as they stand, unchecked, if nothing about them is odd.

    None for small records too: to hash those takes no longer.
    """
    count = places_in(descriptor, header)
    if header.layout.dtype.itemsize <= SMALL_BYTES or count < header.records:
        return None
    steps, stated = said(descriptor, header, 0, count)
    if not is_stated(stated).all() or not is_increasing(steps, after_step):
        return None
    return Scan(np.arange(count), steps, stated, [], count)


def places_in(descriptor: int, header: Header) -> int:
    """How many records lie whole in the file."""
    # lseek, not fstat: a third of its time, and this is asked before every read of a map. Nobody uses the position
    behind = os.lseek(descriptor, 0, os.SEEK_END) - header.data_offset
    return max(0, min(header.records, behind // header.layout.dtype.itemsize))


def said(descriptor: int, header: Header, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """(record,) steps and (record, 16) digests of records start to stop - 1 as they stand there, unchecked.

    Little is read: a record's digest and the step of the next one stand side by side.
    """
    size, width = header.layout.dtype.itemsize, DIGEST_BYTES + 8
    first = header.data_offset - DIGEST_BYTES
    ends = range(first + start * size, first + stop * size + 1, size)
    pieces = list(map(os.pread, repeat(descriptor), repeat(width), ends))
    pieces[-1] = pieces[-1].ljust(width, b"\0")  # the file may end there
    joined = b"".join(pieces)
    if len(joined) < width * len(pieces):  # cut while it was read
        joined = b"".join(piece.ljust(width, b"\0") for piece in pieces)
    table = np.frombuffer(bytearray(joined), np.uint8).reshape(-1, width)
    steps = np.ascontiguousarray(table[:-1, DIGEST_BYTES:]).view("<i8")[:, 0]
    return steps, np.ascontiguousarray(table[1:, :DIGEST_BYTES])


def digest_at(descriptor: int, header: Header, place: int) -> bytes:
    """The digest that the record's bytes give, read in pieces: XXH3-128 over salt, place and record."""
    state = xxhash.xxh3_128(header.salt + place.to_bytes(8, "little"))
    at = header.data_offset + place * header.layout.dtype.itemsize
    end = at + header.layout.dtype.itemsize - DIGEST_BYTES
    while at < end and (piece := os.pread(descriptor, min(_PIECE_BYTES, end - at), at)):
        state.update(piece)
        at += len(piece)
    return state.digest()


def _looked_at(descriptor: int, header: Header, start: int, is_complete: bool) -> tuple[np.ndarray, ...]:
    """`_hashed` from `start` to the end, or to where free places begin: who follows a writer looks often."""
    whole = places_in(descriptor, header)
    several = max(1, whole if is_complete else _GLANCE_BYTES // header.layout.dtype.itemsize)
    parts: list[tuple[np.ndarray, ...]] = []
    for at in range(start, whole, several):
        stop = min(whole, at + several)
        parts.append(_hashed(descriptor, header, at, stop))
        if not (is_complete or parts[-1][1].any() or _has_data(descriptor, header, stop, None)):
            break
    return _joined((*_NOTHING, np.zeros(0, bool)), parts)


def _hashed(descriptor: int, header: Header, start: int, stop: int) -> tuple[np.ndarray, ...]:
    """(record,) steps, (record, 16) stated digests, (record,) whether the bytes give them; all zeros is none."""
    size = header.layout.dtype.itemsize
    if size > SMALL_BYTES:
        steps, stated = said(descriptor, header, start, stop)
        is_right = is_stated(stated)
        for row in np.flatnonzero(is_right).tolist():
            is_right[row] = digest_at(descriptor, header, start + row) == stated[row].tobytes()
        return steps, stated, is_right
    several = _SMALL_PIECE_BYTES // size
    parts = [_hashed_together(descriptor, header, at, min(stop, at + several)) for at in range(start, stop, several)]
    steps, stated, actual = _joined((*_NOTHING, _NOTHING[1]), parts)
    is_same = stated.view(np.uint64) == actual.view(np.uint64)
    return steps, stated, is_stated(stated) & is_same[:, 0] & is_same[:, 1]


def is_stated(digests: np.ndarray) -> np.ndarray:
    """(record,) whether a digest is not all zeros; as two numbers, because numpy is slow along short axes."""
    halves = digests.view(np.uint64)
    return (halves[:, 0] | halves[:, 1]) != 0


_NOTHING = (np.zeros(0, "<i8"), np.zeros((0, DIGEST_BYTES), np.uint8))


def _joined(nothing: tuple[np.ndarray, ...], parts: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    return tuple(np.concatenate(column) for column in zip(nothing, *parts, strict=True))


def _hashed_together(descriptor: int, header: Header, start: int, stop: int) -> tuple[np.ndarray, ...]:
    """Steps, stated and actual digests of small records; zeros where none is stated.

    In words of 8 bytes, at multiples of which every field stands: numpy is slow along short rows of bytes.
    """
    size, count = header.layout.dtype.itemsize, stop - start
    raw = os.pread(descriptor, count * size, header.data_offset + start * size).ljust(count * size, b"\0")
    records = np.frombuffer(raw, np.uint64).reshape(count, size // 8)
    stated = np.ascontiguousarray(records[:, -2:])
    used = np.flatnonzero(stated[:, 0] | stated[:, 1])
    hashed = np.empty((len(used), 3 + records.shape[1] - 2), np.uint64)  # salt | place | record without its digest
    hashed[:, :2] = np.frombuffer(header.salt, np.uint64)
    hashed[:, 2] = (start + used).astype("<i8").view(np.uint64)
    hashed[:, 3:] = (records if len(used) == count else records[used])[:, :-2]
    pieces = struct.unpack(f"{8 * hashed.shape[1]}s" * len(used), hashed.data)
    actual = np.frombuffer(b"".join(map(xxhash.xxh3_128_digest, pieces)), np.uint64).reshape(-1, 2)
    if len(used) < count:
        found, actual = actual, np.zeros_like(stated)
        actual[used] = found
    steps = np.ascontiguousarray(records[:, 0]).view("<i8")
    return steps, stated.view(np.uint8), actual.view(np.uint8)


def _last(is_right: np.ndarray) -> int:
    return int(np.flatnonzero(is_right)[-1]) if is_right.any() else -1


def is_increasing(steps: np.ndarray, after_step: int | None) -> bool:
    before = -1 if after_step is None else after_step
    return len(steps) == 0 or bool(steps[0] > before and (steps[1:] > steps[:-1]).all())


def _out_of_order(steps: np.ndarray, is_right: np.ndarray, after_step: int | None) -> dict[int, str]:
    """The rows whose step is negative or not after the step before it, with the reason in words."""
    if is_increasing(steps[is_right], after_step):
        return {}
    reasons, before = {}, -1 if after_step is None else after_step
    for row in np.flatnonzero(is_right).tolist():
        step = int(steps[row])
        if step > before:
            before = step
        else:
            reasons[row] = "its step is negative" if step < 0 else f"its step does not follow step {before} before it"
    return reasons


def _has_data(descriptor: int, header: Header, start: int, stop: int | None) -> bool:
    """Whether a byte of these places (to the last one for None) is not zero. Holes in the file are not read."""
    size = header.layout.dtype.itemsize
    at = header.data_offset + start * size
    end = header.data_offset + (places_in(descriptor, header) if stop is None else stop) * size
    while at < end:
        try:
            at = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole follows
                return False
        piece = os.pread(descriptor, min(_PIECE_BYTES, max(0, end - at)), at)
        if np.frombuffer(piece, np.uint8).any():
            return True
        at += max(len(piece), 1)
    return False
