"""Zips: whether a zip archive is one that torch.save would write, found out before anything in it is unpacked.

torch.save stores, never compresses; each entry's bytes stand in the file once. So entries can hold no more than the
file does, and a bomb is told by its list of contents alone.
"""

from __future__ import annotations

import os
import struct
import zipfile
from typing import BinaryIO

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_BYTES = 20
MOST_ENTRIES = 20_000
MOST_DESCRIPTION_BYTES = 16 << 20  # a thousand tensors with Adam's state take 1 MB


class NotOurs(ValueError):
    """Why this archive is not read, in words."""


def description_in(file: BinaryIO) -> bytes:
    """The pickle in a torch archive. Raises NotOurs for an archive that torch.save would not write."""
    size = os.fstat(file.fileno()).st_size
    _check_end(file, size)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check_entries(entries, size)
            description = archive.getinfo(entries[0].filename.partition("/")[0] + "/data.pkl")
            if description.file_size > MOST_DESCRIPTION_BYTES:
                raise NotOurs(f"its description takes {description.file_size:,} bytes; at most 16 MiB are read")
            return archive.read(description)
    except NotOurs:
        raise
    # what zipfile raises for damaged lists of contents; ValueError where a name is no UTF-8
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError, struct.error, RuntimeError) as error:
        raise NotOurs(f"it is damaged: {error}") from None


def _check_end(file: BinaryIO, size: int) -> None:
    """The archive's end must be the file's, so that every reader of zip archives finds the same list of contents."""
    tail = _at(file, size - _END.size, _END.size)
    if len(tail) < _END.size or tail[:4] != b"PK\x05\x06":
        raise NotOurs("it is cut off: an archive's end is missing")
    _, _, _, _, entries, length, offset, comment = _END.unpack(tail)
    end = size - _END.size
    if _at(file, end - _LOCATOR_BYTES, 4) == b"PK\x06\x07":  # torch always writes the longer end too
        end -= _END64.size + _LOCATOR_BYTES
        tail = _at(file, end, _END64.size)
        if tail[:4] != b"PK\x06\x06":
            raise NotOurs("it is damaged: the list of its contents cannot be found")
        entries, length, offset = _END64.unpack(tail)[7:]
    if comment or offset + length != end:
        raise NotOurs("it is damaged: the list of its contents is not where it should be")
    if entries > MOST_ENTRIES or length > MOST_ENTRIES * 512:
        raise NotOurs(f"it has {entries:,} entries; at most {MOST_ENTRIES:,} are read")


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(max(0, offset))
    return file.read(size)


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise NotOurs("it is compressed, which torch.save never does: unpacked it could fill all memory")
    if sum(entry.file_size for entry in entries) > size:
        raise NotOurs("its entries overlap: together they would be larger than the file")
    names = [entry.filename.lower() for entry in entries]
    descriptions = [name for name in names if name.endswith("data.pkl")]
    if len(set(names)) < len(names) or len(descriptions) != 1:
        raise NotOurs(f"it has {len(descriptions)} descriptions (data.pkl); expected one, and no name twice")
