"""Segment: one open file of records, read through a memory map, or by pread while a writer is at work on it."""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from devi.checkpoints.header import read_header
from devi.checkpoints.record import digest_of
from devi.checkpoints.scan import digest_at, places_in
from devi.checkpoints.userblock import BlockError, open_regular
from devi.errors import DeviError


class Segment:
    """One open segment. Raises BlockError or OSError if its description cannot be read.

    path   as the user gave it, for words
    here   where it is, whatever directory is the current one when it is opened again
    """

    def __init__(self, path: Path, here: Path | None = None) -> None:
        self.path, self.here = path, path.absolute() if here is None else here
        self.descriptor = open_regular(self.here)
        weakref.finalize(self, os.close, self.descriptor)
        self._mapped: np.ndarray | None = None
        self.header, self.findings = read_header(self.descriptor, path.name)
        stat = os.fstat(self.descriptor)
        self.identity = (stat.st_dev, stat.st_ino)

    def rows(self, places: slice | np.ndarray, *, is_live: bool) -> np.ndarray:
        """(place,) records: a view of the map if the places are a slice; copies while the segment is written.

        places   a slice that `as_slice` gave, or an array

        To touch a mapped page that is no longer in the file kills the process (SIGBUS). So the file's size is looked
        at first. That leaves the case that someone cuts the file while a view of it is in use: devi itself never
        cuts one, it puts another in its place, and the map keeps the old one.
        """
        header = self.header
        here = places_in(self.descriptor, header)
        last = places.stop - 1 if isinstance(places, slice) else int(places.max())
        if last >= here:
            raise DeviError(
                f"{self.path} was cut while it was open: record {last} is gone."
                f" Open the run again; what is whole: devi verify {self.path.parent}"
            )
        if is_live and not header.is_closed:
            if isinstance(places, slice):
                places = np.arange(places.start, places.stop, places.step)
            size = header.layout.dtype.itemsize
            out = np.empty(len(places), header.layout.dtype)
            memory = out.view(np.uint8).reshape(-1).data
            for row, place, count in _stretches(places):
                self.read_into(memory[row * size : (row + count) * size], header.data_offset + place * size)
            return out
        return self._map(here)[places]

    def _map(self, here: int) -> np.ndarray:
        """The first `here` records, which are in the file now."""
        if self._mapped is None or len(self._mapped) < here:
            start, dtype = self.header.data_offset, self.header.layout.dtype
            mapped = mmap.mmap(self.descriptor, start + here * dtype.itemsize, access=mmap.ACCESS_READ)
            self._mapped = np.frombuffer(mapped, dtype, here, start)
        return self._mapped

    def digest(self, place: int, *, is_live: bool) -> bytes:
        """The digest that a record's bytes give; of a mapped one where they stand, so that they are fetched once."""
        here = places_in(self.descriptor, self.header)
        if place >= here or (is_live and not self.header.is_closed):
            return digest_at(self.descriptor, self.header, place)
        return digest_of(self.header.salt, place, self._map(here)[place : place + 1].view(np.uint8).data)

    def read_into(self, memory: memoryview, offset: int) -> None:
        while memory:
            count = os.preadv(self.descriptor, [memory], offset)
            if count == 0:
                raise DeviError(f"{self.path} was cut while it was read. See: devi verify {self.path.parent}")
            memory, offset = memory[count:], offset + count

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.path, self.here, self.header.salt)


def _reopened(path: Path, here: Path, salt: bytes) -> Segment:
    """For a worker process: the same segment, or DeviError."""
    try:
        segment = Segment(path, here)
    except (BlockError, OSError) as error:
        raise DeviError(f"{path} cannot be opened again: {error}. See: devi verify {path.parent}") from None
    if segment.header.salt != salt:
        raise DeviError(f"{path} is no longer the file that was opened. Start again.")
    return segment


def _stretches(places: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(row, place, count) of each piece of consecutive places."""
    row = 0
    for stretch in np.split(places, np.flatnonzero(np.diff(places) != 1) + 1):
        if len(stretch):
            yield row, int(stretch[0]), len(stretch)
        row += len(stretch)


def as_slice(places: range | np.ndarray) -> slice | np.ndarray:
    """Evenly spaced places as a slice, which gives a view; others as they are."""
    if len(places) == 0:
        return slice(0, 0)
    if isinstance(places, range):
        return slice(places.start, places[-1] + 1, places.step) if places.step > 0 else np.asarray(places)
    first, last, count = int(places[0]), int(places[-1]), len(places)
    step = int(places[1]) - first if count > 1 else 1
    if step < 1 or last != first + step * (count - 1):
        return places
    # compared as bytes: numpy's reductions would take longer than reading a small block does
    is_even = places.tobytes() == np.arange(first, last + 1, step).tobytes()
    return slice(first, last + 1, step) if is_even else places
