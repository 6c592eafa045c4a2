"""Segment: a file with room for records, made under a temporary name; from then on its HDF5 metadata never change."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from devi.checkpoints.hdf5 import contiguous, create_hdf5
from devi.checkpoints.header import MOST_RECORDS, Header
from devi.checkpoints.layout import Layout
from devi.checkpoints.userblock import (
    UNKNOWN_OFFSET,
    BlockError,
    digest_of_span,
    json_bytes,
    packed,
    replacing,
    size_for,
    trailer,
    write_all,
)
from devi.errors import DeviError, quoted

SEGMENT_BYTES = 64 << 20
_COPY_BYTES = 64 << 10  # as in store.py: larger pieces take large pages, slow where they are not at hand
_OTHER_METADATA_BYTES = 2048  # all but the datatype: superblock, root group and object header take about 1,000


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

    `copied` (descriptor and header of the open segment at `path`) fills it with that segment's first records, byte for
    byte. Raises DeviError, and leaves the file at `path`, if the descriptor is not its, or not all of it can be read.
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
                _copy(copied[0], copied[1].data_offset, path, descriptor, offset, header.end)
            try:
                block = packed(header.to_json())
            except BlockError as error:
                largest = max(metadata, key=lambda key: len(json_bytes(metadata[key])))
                raise DeviError(
                    f"{path.parent}: what describes this run does not fit into its files: {error}. Most of it is"
                    f" metadata['{largest}']: keep it in a file of your own and give its name."
                ) from None
            write_all(descriptor, block, 0)
            write_all(descriptor, trailer(block), header.end)
        finally:
            os.close(descriptor)
    return header


def _copy(source: int, start: int, path: Path, descriptor: int, offset: int, end: int) -> None:
    """Fill the bytes `offset` to `end` with those from `start` on of `source`, which must be the file at `path`."""
    is_there = os.path.samestat(os.fstat(source), path.stat())
    for at in range(offset, end, _COPY_BYTES):
        size = min(_COPY_BYTES, end - at)
        piece = os.pread(source, size, start + at - offset)
        if not is_there or len(piece) < size:
            why = "it was cut" if is_there else "another file stands there"
            raise DeviError(
                f"{path} is no longer as it was recorded, and stays as it is: {why}. Was it changed by another program?"
                f" What is whole: devi verify {quoted(path.parent)}"
            )
        write_all(descriptor, piece, at)


def _create(path: Path, user_block: int, records: int, layout: Layout) -> int:
    """The HDF5 file with its one dataset; returns where the dataset's bytes begin in the file."""
    kind = h5py.h5t.py_create(layout.dtype, logical=True)
    # All metadata must stand before the records: behind them is the trailer.
    file = create_hdf5(path, user_block, len(kind.encode()) + _OTHER_METADATA_BYTES)
    try:
        space = h5py.h5s.create_simple((records,))
        try:
            offset = h5py.h5d.create(file, b"checkpoints", kind, space, contiguous()).get_offset()
        except (ValueError, RuntimeError) as error:
            if "too large" not in str(error):
                raise
            names = [*layout.scalars, *(tensor.name for tensor in layout.tensors)]
            raise DeviError(
                f"{path.parent}: this model has {len(layout.tensors)} parameters and buffers, recorded with"
                f" {len(layout.scalars)} scalars, with names of {np.mean([len(name) for name in names]):.0f} characters"
                " on average; one HDF5 compound type"
                " holds about 1,000 with short names, 600 with names of 40. Record a part of the model:"
                " record(step, model.part), or shorten the names."
            ) from None
    finally:
        file.close()
    if path.stat().st_size != offset + records * layout.dtype.itemsize:
        raise RuntimeError(f"HDF5 put something of its own behind the records of {path}")
    return offset
