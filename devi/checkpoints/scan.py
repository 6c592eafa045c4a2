"""Scan: which records of a segment are whole, and what is wrong with the others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from devi.checkpoints.header import Finding, Header
from devi.checkpoints.layout import DIGEST_BYTES
from devi.checkpoints.record import digest_of

_READ_BYTES = 4 << 20


class Scan(NamedTuple):
    """The whole records of a segment, or of its part from `start` on."""

    places: np.ndarray  # (record,) where in the segment
    steps: np.ndarray  # (record,)
    digests: np.ndarray  # (record, 16)
    findings: list[Finding]


def scan(
    descriptor: int,
    header: Header,
    name: str,
    *,
    start: int = 0,
    after_step: int | None = None,
    is_complete: bool,
    stop_at_free: bool = False,
) -> Scan:
    """Check every record's digest.

    is_complete   every place was used (a closed segment, or not the last one): what is missing is damage
    stop_at_free  for a live run: end at the first record that is not there yet, and report nothing about it
    """
    places, steps, digests = [], [], []
    wrong: list[tuple[int, int, str]] = []
    for at, record, digest in _used_or_not(descriptor, header, start):
        step = int.from_bytes(record[:8], "little", signed=True)
        if digest_of(header.salt, at, record) == digest:
            if after_step is not None and step <= after_step:
                wrong.append((at, step, f"its step does not follow step {after_step} before it"))
                continue
            places.append(at)
            steps.append(step)
            digests.append(digest)
            after_step = step
        elif stop_at_free:
            break
        elif any(digest):
            wrong.append((at, step, "its digest is wrong"))
        elif is_complete or record.tobytes().strip(b"\0"):
            wrong.append((at, step, "it has no digest"))
        else:
            wrong.append((at, step, ""))
    last = places[-1] if places else -1
    findings = []
    for at, step, reason in wrong:
        is_torn = at > last and not is_complete
        if reason or not is_torn:  # an empty place after the last record is free
            reason = reason or "it is empty, between records that are not"
            findings.append(Finding("torn" if is_torn else "damaged", name, at, step or None, reason))
    return Scan(
        np.array(places, np.int64),
        np.array(steps, np.int64),
        np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES),
        findings,
    )


def _used_or_not(descriptor: int, header: Header, start: int) -> Iterator[tuple[int, memoryview, bytes]]:
    """(place, bytes, digest) of each record that lies whole in the file."""
    size = header.layout.dtype.itemsize
    several = max(1, _READ_BYTES // size)
    whole = min(header.records, (os.fstat(descriptor).st_size - header.data_offset) // size)
    for first in range(start, whole, several):
        wanted = min(several, whole - first) * size
        piece = memoryview(os.pread(descriptor, wanted, header.data_offset + first * size))
        for place in range(len(piece) // size):
            record = piece[place * size : (place + 1) * size]
            yield first + place, record, bytes(record[-DIGEST_BYTES:])
