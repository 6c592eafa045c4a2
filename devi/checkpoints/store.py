"""Store: appends records to the segments of one run, and knows those that are there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from devi.checkpoints.header import Finding, Header, read_header, segment_name, segment_paths
from devi.checkpoints.layout import DIGEST_BYTES, Layout
from devi.checkpoints.record import RecordBuffer
from devi.checkpoints.room import Room
from devi.checkpoints.scan import scan
from devi.checkpoints.segment import records_in, write_segment
from devi.checkpoints.syncer import Syncer
from devi.checkpoints.userblock import BlockError, open_regular, read_all
from devi.checkpoints.verify import REPAIR_NOTE
from devi.errors import DeviError

# Guards against power loss only: what a killed process has written stays.
SYNC_SECONDS = 3.0


class _Place(NamedTuple):
    path: Path
    offset: int


class Store:
    """One run's segments, open for appending. The caller fills `buffer` and calls `append`."""

    buffer: RecordBuffer

    def __init__(self, folder: Path, *, segment_bytes: int, expected: int | None) -> None:
        self.folder = folder
        self.layout: Layout | None = None
        self.metadata: dict[str, Any] = {}
        self.last_step: int | None = None
        self.findings: list[Finding] = []
        self._segment_bytes = segment_bytes
        self._expected = expected
        self._stored: dict[int, _Place] = {}
        self._number = -1  # of the newest segment
        self._header: Header | None = None  # of the segment that takes the next record, if it exists
        self._descriptor = -1
        self._room: Room | None = None  # of that segment
        self._used = 0
        self._is_writing = False
        self._count = 0  # records of the whole run
        self._syncer = Syncer()
        self._next_sync = 0.0
        self._unsynced = False

    @property
    def run_id(self) -> str | None:
        return self.metadata.get("run_id")

    @property
    def has_gaps(self) -> bool:
        """Whether checkpoints may be lost: steps before the last one need not be stored."""
        return (self.folder / REPAIR_NOTE).exists() or any(finding.kind != "torn" for finding in self.findings)

    def load(self) -> None:
        """Find out what is stored. Raises DeviError if a segment cannot be read or is of another run."""
        paths = segment_paths(self.folder)
        for number, path in paths.items():
            if number != self._number + 1:
                reason = f"the file is missing, with its checkpoints; the next one is {path.name}"
                self.findings.append(Finding("file", segment_name(self._number + 1), None, None, reason))
            try:
                descriptor = open_regular(path)
                try:
                    header, findings = read_header(descriptor, path.name)
                    self._check_belongs(header, number, path)
                    is_complete = header.is_closed or number != max(paths)
                    found = scan(descriptor, header, path.name, after_step=self.last_step, is_complete=is_complete)
                finally:
                    os.close(descriptor)
            except BlockError as error:
                raise DeviError(
                    f"{path}: {error}. A run is resumed only where it can be read to its end."
                    f" Save what is whole as a new run: devi repair {self.folder} --out {self.folder}-repaired"
                ) from None
            self.findings += [*findings, *found.findings]
            size = header.layout.dtype.itemsize
            for index, step in zip(found.places.tolist(), found.steps.tolist(), strict=True):
                self._stored[step] = _Place(path, header.data_offset + index * size)
                self.last_step = step
            self._count = len(self._stored)
            self._number, self._header = number, header
            self._used = int(found.places[-1]) + 1 if len(found.places) else 0
        if self._header is not None:
            self.buffer = RecordBuffer(self._header.layout, self._header.salt)
            if self._header.is_closed:
                self._header = None
            else:
                self._open(self.folder / segment_name(self._number), self._header)

    def _check_belongs(self, header: Header, number: int, path: Path) -> None:
        if header.number != number:
            raise DeviError(
                f"{path}: inside it is segment {header.number}. Give it its own name back: {header.number:06d}."
            )
        if self.layout is None:
            self.layout, self.metadata = header.layout, header.metadata
        elif header.layout != self.layout or header.metadata.get("run_id") != self.run_id:
            raise DeviError(f"{path} belongs to another run than the segments before it. Move it out of {self.folder}.")

    def start(self, layout: Layout, metadata: dict[str, Any]) -> None:
        """Begin a new run: nothing is on disk before the first record."""
        self.layout, self.metadata = layout, metadata
        self.buffer = RecordBuffer(layout, bytes(16))

    def stored(self, step: int) -> bytearray | None:
        """The record of a step without its digest, None if it is not stored."""
        place = self._stored.get(step)
        if place is None:
            return None
        assert self.layout is not None
        descriptor = open_regular(place.path)
        try:
            content = bytearray(self.layout.dtype.itemsize - DIGEST_BYTES)
            read_all(descriptor, memoryview(content), place.offset)
            return content
        finally:
            os.close(descriptor)

    def append(self, step: int) -> None:
        """Commit the record of `step`, which is in `buffer`: one hash, one copy or write (or several, digest last)."""
        if self._is_writing:
            self._count_uncounted()
            if self.last_step == step:
                return
        if self._header is None or self._used == self._header.records:
            self._leave()
            self._open_next()
        header, room, buffer = self._header, self._room, self.buffer
        assert header is not None
        assert room is not None
        buffer.seal(self._used)
        self._is_writing = True
        room.put(buffer.bytes, header.data_offset + self._used * len(buffer.bytes))
        self._used, self.last_step, self._unsynced, self._is_writing = self._used + 1, step, True, False
        self._count += 1
        is_full = self._used == header.records
        if is_full or time.monotonic() >= self._next_sync:
            self._begin_sync(is_full)

    def _count_uncounted(self) -> None:
        """After a Ctrl-C in the middle of a record: it may be whole, and a reader may have seen it."""
        assert self._header is not None
        name = segment_name(self._number)
        found = scan(
            self._descriptor, self._header, name, start=self._used, after_step=self.last_step, is_complete=False
        )
        for place, step in zip(found.places.tolist(), found.steps.tolist(), strict=True):
            self._used, self.last_step, self._unsynced, self._count = place + 1, step, True, self._count + 1
        self._is_writing = False

    def _open_next(self) -> None:
        assert self.layout is not None
        records = records_in(self._segment_bytes, self.layout)
        if self._expected is not None:
            records = min(records, max(self._expected - self._count, 1))
        path = self.folder / segment_name(self._number + 1)
        header = write_segment(path, self._number + 1, records, self.layout, self.metadata)
        self._number, self._header, self._used = self._number + 1, header, 0
        self._open(path, header)
        self.buffer.set_salt(header.salt)
        self._next_sync = time.monotonic() + SYNC_SECONDS

    def _open(self, path: Path, header: Header) -> None:
        self._descriptor, size = os.open(path, os.O_RDWR | os.O_CLOEXEC), header.layout.dtype.itemsize
        self._room = Room(self._descriptor, header.data_offset + self._used * size, header.end, size)

    def sync(self) -> None:
        """Wait until every committed record is durable. Raises OSError."""
        self._syncer.wait()
        if self._unsynced:
            os.fsync(self._descriptor)
        self._unsynced = False
        self._next_sync = time.monotonic() + SYNC_SECONDS

    @property
    def is_syncing(self) -> bool:
        return self._syncer.is_busy

    def sync_then(self, work: Callable[[], None]) -> None:
        """Make every committed record durable, then do `work`, in the thread. Raises what went wrong there before."""
        self._syncer.begin(self._descriptor if self._unsynced else None, work)
        self._unsynced = False
        self._next_sync = time.monotonic() + SYNC_SECONDS

    def _begin_sync(self, is_full: bool) -> None:
        """Make what is written durable meanwhile; a full segment for certain, else only if the disk keeps up."""
        if is_full or not self._syncer.is_busy:
            self._syncer.begin(self._descriptor)
            self._unsynced = False
        self._next_sync = time.monotonic() + SYNC_SECONDS

    def _leave(self) -> None:
        descriptor, room = self._descriptor, self._room
        self._descriptor, self._room, self._header = -1, None, None
        if room is not None:
            room.close()
        if descriptor >= 0:
            os.close(descriptor)

    def close(self) -> None:
        """Write the last segment anew with exactly its records. Raises OSError; the old segment then stands."""
        try:
            if self._is_writing:
                self._count_uncounted()
            self.sync()
            if self._header is not None and self._used:
                exact = (self._descriptor, self._header)
                path = self.folder / segment_name(self._number)
                write_segment(path, self._number, self._used, self._header.layout, self._header.metadata, copied=exact)
        finally:
            self._leave()
