"""Header: what a segment's user block says, and what was found wrong in the file outside its records."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from devi.checkpoints.layout import Layout
from devi.checkpoints.userblock import BlockError, digest_of_span, has_copy, read_front, read_trailer

SCHEMA = "devi/checkpoints/1"
MOST_RECORDS = 8192
# An object header of HDF5 holds 64 KiB at most, and little else stands before the data.
MOST_HDF5_BYTES = 1 << 20
_NAME = re.compile(r"segment-(\d{6})\.h5")


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
            if not (0 <= header.number < 10**6 and 1 <= header.records <= MOST_RECORDS and len(header.salt) == 16):
                raise BlockError("a size is out of bounds")
            if not 0 <= header.data_offset - header.user_block <= MOST_HDF5_BYTES:
                raise BlockError("the data do not stand after the user block")
            if type(header.is_closed) is not bool or type(header.metadata) is not dict or header.to_json() != content:
                raise BlockError("the JSON has something that does not belong there")
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


def its_own_name(number: int) -> str:
    """What to say of a whole segment that stands under the name of another."""
    return f"inside it is segment {number}. Give it its own name back: {segment_name(number)}"


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
            if not has_copy(descriptor, header.end, size, header.user_block):
                try:
                    read_trailer(descriptor, size)
                    why = "it differs from the block at the front"
                except BlockError as error:
                    why = str(error)
                found(
                    f"the copy of the user block at its end is missing or damaged ({why}); a tool may have opened"
                    " the file for writing. The records were checked one by one all the same"
                )
    if digest_of_span(descriptor, header.user_block, min(header.data_offset, size)) != header.hdf5_sha256:
        found("its HDF5 metadata is damaged: h5py may not open it or may misread it. devi does not use it")
    return header, findings
