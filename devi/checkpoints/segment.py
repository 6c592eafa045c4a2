"""One segment file: how it is made, what its user block says, and which of its records are whole."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import h5py
import numpy as np

from devi.checkpoints.record import DIGEST_BYTES, Layout, digest_of
from devi.checkpoints.userblock import (
    UNKNOWN_OFFSET,
    BlockError,
    contiguous,
    create_hdf5,
    digest_of_span,
    packed,
    read_front,
    read_trailer,
    replacing,
    size_for,
    trailer,
    write_all,
)
from devi.errors import DeviError

SCHEMA = "devi/checkpoints/1"
SEGMENT_BYTES = 64 << 20
MOST_RECORDS = 8192
_NAME = re.compile(r"segment-(\d{6})\.h5")
_READ_BYTES = 4 << 20


class Finding(NamedTuple):
    """Something wrong in a file. Torn: being written when the writer died, no damage. File: outside the records."""

    kind: Literal["damaged", "torn", "file"]
    file: str
    record: int | None
    step: int | None
    reason: str

    def __str__(self) -> str:
        if self.record is None:
            return f"{self.file}: {self.reason}"
        at = "" if self.step is None else f" (step {self.step})"
        return f"{self.file}: record {self.record}{at} is {self.kind} and left out: {self.reason}"


@dataclass(frozen=True)
class Header:
    """What the user block of a segment says."""

    number: int
    records: int  # places, used or free
    layout: Layout
    data_offset: int
    user_block: int
    salt: bytes
    hdf5_sha256: str
    is_closed: bool  # written anew by a clean close: every place is used
    metadata: dict[str, Any]

    @property
    def end(self) -> int:
        return self.data_offset + self.records * self.layout.dtype.itemsize

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "segment": self.number,
            "records": self.records,
            "record": self.layout.to_json(),
            "data_offset": self.data_offset,
            "user_block": self.user_block,
            "salt": self.salt.hex(),
            "hdf5_sha256": self.hdf5_sha256,
            "closed": self.is_closed,
            "metadata": self.metadata,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Header:
        """Raises BlockError for anything `to_json` would not write."""
        try:
            if content["schema"] != SCHEMA:
                raise BlockError(f"schema {content['schema']!r} is not the one this devi reads ({SCHEMA})")
            header = cls(
                content["segment"],
                content["records"],
                Layout.from_json(content["record"]),
                content["data_offset"],
                content["user_block"],
                bytes.fromhex(content["salt"]),
                content["hdf5_sha256"],
                content["closed"],
                content["metadata"],
            )
            numbers = (header.number, header.records, header.data_offset, header.user_block)
            if not all(type(number) is int for number in numbers):
                raise BlockError("a size is not a whole number")
            if not (0 <= header.number < 10**6 and 1 <= header.records <= 2**40 and len(header.salt) == 16):
                raise BlockError("a size is out of bounds")
            if not header.user_block <= header.data_offset < 2**62 or type(header.metadata) is not dict:
                raise BlockError("the data do not stand after the user block")
            return header
        except BlockError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
            raise BlockError(f"the JSON does not describe a segment: {error!r}"[:200]) from None


def segment_name(number: int) -> str:
    return f"segment-{number:06d}.h5"


def segment_paths(folder: Path) -> dict[int, Path]:
    """The segment files of a run, by number."""
    found = {match[1]: path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    return {int(number): found[number] for number in sorted(found)}


def records_in(segment_bytes: int, layout: Layout) -> int:
    """N = segment_bytes / record size, between 1 and 8192."""
    return min(max(segment_bytes // layout.dtype.itemsize, 1), MOST_RECORDS)


def write_segment(
    path: Path,
    number: int,
    records: int,
    layout: Layout,
    metadata: dict[str, Any],
    *,
    copied: tuple[int, Header] | None = None,
) -> Header:
    """Make a segment with room for `records` under a temporary name and move it to `path`.

    `copied` (an open segment's descriptor and header) fills it with that segment's first records, byte for byte.
    """
    salt = secrets.token_bytes(16) if copied is None else copied[1].salt
    is_closed = copied is not None
    draft = Header(number, records, layout, UNKNOWN_OFFSET, UNKNOWN_OFFSET, salt, "0" * 64, is_closed, metadata)
    user_block = size_for(draft.to_json())
    with replacing(path) as temporary:
        offset = _create(temporary, user_block, records, layout)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
        try:
            sha256 = digest_of_span(descriptor, user_block, offset)
            header = Header(number, records, layout, offset, user_block, salt, sha256, is_closed, metadata)
            if copied is not None:
                source, old = copied
                for at in range(0, header.end - offset, _READ_BYTES):
                    piece = os.pread(source, min(_READ_BYTES, header.end - offset - at), old.data_offset + at)
                    write_all(descriptor, piece, offset + at)
            block = packed(header.to_json())
            write_all(descriptor, block, 0)
            write_all(descriptor, trailer(block), header.end)
        finally:
            os.close(descriptor)
    return header


def _create(path: Path, user_block: int, records: int, layout: Layout) -> int:
    """The HDF5 file with its one dataset; returns where the dataset's bytes begin in the file."""
    file = create_hdf5(path, user_block)
    try:
        kind = h5py.h5t.py_create(layout.dtype, logical=True)
        space = h5py.h5s.create_simple((records,))
        try:
            offset = h5py.h5d.create(file, b"checkpoints", kind, space, contiguous()).get_offset()
        except (ValueError, RuntimeError) as error:
            if "too large" not in str(error):
                raise
            raise DeviError(
                f"{path.parent}: this model has {len(layout.tensors)} parameters and buffers with names of"
                f" {np.mean([len(t.name) for t in layout.tensors]):.0f} characters on average; one HDF5 compound type"
                " holds about 1,000 with short names, 600 with names of 40. Record a part of the model:"
                " record(step, model.part), or shorten the names."
            ) from None
    finally:
        file.close()
    return offset


def read_header(descriptor: int, name: str) -> tuple[Header, list[Finding]]:
    """The header, from the trailer's copy if the front is damaged, and what was found wrong outside the records.

    Raises BlockError if neither can be trusted.
    """
    size = os.fstat(descriptor).st_size
    findings: list[Finding] = []

    def found(reason: str) -> None:
        findings.append(Finding("file", name, None, None, reason))

    try:
        header = Header.from_json(read_front(descriptor, size))
    except BlockError as front:
        try:
            header = Header.from_json(read_trailer(descriptor, size))
        except BlockError as back:
            raise BlockError(f"its user block is damaged ({front}) and so is the copy at its end ({back})") from None
        found(f"its user block is damaged ({front}); the copy at its end was used")
    else:
        if size < header.end:
            whole = max(0, size - header.data_offset) // header.layout.dtype.itemsize
            found(f"it was cut to {size} bytes, of {header.end}: records from {whole} on, if there were any, are lost")
        else:
            try:
                if Header.from_json(read_trailer(descriptor, size)) != header:
                    raise BlockError("it differs from the block at the front")
            except BlockError as error:
                found(
                    f"the copy of the user block at its end is missing or damaged ({error}); a tool may have opened"
                    " the file for writing. The records were checked one by one all the same"
                )
    if digest_of_span(descriptor, header.user_block, min(header.data_offset, size)) != header.hdf5_sha256:
        found("its HDF5 metadata is damaged: h5py may not open it or may misread it. devi does not use it")
    return header, findings


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
