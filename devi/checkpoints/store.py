"""Store: appends records to the segments of one run, and knows those that are there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from devi.checkpoints.ahead import Ahead, OpenSegment, opened
from devi.checkpoints.header import Finding, Header, its_own_name, read_header, segment_name, segment_paths
from devi.checkpoints.layout import DIGEST_BYTES, Layout
from devi.checkpoints.record import RecordBuffer
from devi.checkpoints.scan import scan
from devi.checkpoints.segment import records_in, write_segment
from devi.checkpoints.syncer import Syncer
from devi.checkpoints.userblock import BlockError, open_regular, read_all, sync_folder
from devi.checkpoints.verify import REPAIR_NOTE
from devi.checkpoints.whereabouts import check_is_here
from devi.errors import DeviError

# Guards against power loss only: what a killed process has written stays.
SYNC_SECONDS = 5.0


class _Place(NamedTuple):
    path: Path
    offset: int


class Store:
    """One run's segments, open for appending. The caller fills `buffer` and calls `append`."""

    buffer: RecordBuffer

    def __init__(self, folder: Path, *, segment_bytes: int, expected: int | None) -> None:
        self.named, self.folder = folder, folder.absolute()  # as given, for words; who trains may change directory
        self.layout: Layout | None = None
        self.metadata: dict[str, Any] = {}
        self.last_step: int | None = None
        self.findings: list[Finding] = []
        self._segment_bytes = segment_bytes
        self._expected = expected
        self._stored: dict[int, _Place] = {}
        self._number = -1  # of the newest segment
        self.segment: OpenSegment | None = None  # that takes the next record, if it exists
        self.used = 0  # records in it
        self.turn = 0  # with so many of them something is to be done: the next segment begun, or this one made durable
        self.is_mid_record = False  # the next one may be on the disk, and is not counted
        self._ahead = Ahead()
        self._before = 0  # records of the run in the segments before
        self._syncer = Syncer()
        self.next_sync = 0.0
        self.is_unsynced = False  # some record of this segment
        self._is_name_unsynced = False  # of this segment, in the folder

    @property
    def run_id(self) -> str | None:
        return self.metadata.get("run_id")

    @property
    def has_gaps(self) -> bool:
        """Whether checkpoints may be lost: steps before the last one need not be stored."""
        return (self.folder / REPAIR_NOTE).exists() or any(finding.kind != "torn" for finding in self.findings)

    def load(self) -> None:
        """Find out what is stored. Raises DeviError if a segment cannot be read or is of another run."""
        paths, newest = segment_paths(self.folder), None
        for number, path in paths.items():
            shown = self.named / path.name
            if number != self._number + 1:
                reason = f"the file is missing, with its checkpoints; the next one is {path.name}"
                self.findings.append(Finding("file", segment_name(self._number + 1), None, None, reason))
            try:
                descriptor = open_regular(path)
                try:
                    header, findings = read_header(descriptor, path.name)
                    self._check_belongs(header, number, shown)
                    is_complete = header.is_closed or number != max(paths)
                    found = scan(descriptor, header, path.name, after_step=self.last_step, is_complete=is_complete)
                finally:
                    os.close(descriptor)
            except BlockError as error:
                raise DeviError(
                    f"{shown}: {error}. A run is resumed only where it can be read to its end."
                    f" Save what is whole as a new run: devi repair {self.named} --out {self.named}-repaired"
                ) from None
            self.findings += [*findings, *found.findings]
            size = header.layout.dtype.itemsize
            for index, step in zip(found.places.tolist(), found.steps.tolist(), strict=True):
                self._stored[step] = _Place(path, header.data_offset + index * size)
                self.last_step = step
            self._number, newest = number, (path, header)
            self.used = int(found.places[-1]) + 1 if len(found.places) else 0
            self._before = len(self._stored) - self.used
        if newest is not None:
            path, header = newest
            self.buffer = RecordBuffer(header.layout, header.salt)
            if not header.is_closed:
                self.segment, self.turn = opened(path, header, self.used), _turn(header.records, self.used)

    def _check_belongs(self, header: Header, number: int, path: Path) -> None:
        if header.number != number:
            raise DeviError(f"{path}: {its_own_name(header.number)}.")
        if self.layout is None:
            self.layout, self.metadata = header.layout, header.metadata
        elif header.layout != self.layout or header.metadata.get("run_id") != self.run_id:
            raise DeviError(f"{path} belongs to another run than the segments before it. Move it out of {path.parent}.")

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
        if self.is_mid_record:
            self._count_uncounted()
            if self.last_step == step:
                return
        segment, buffer = self.segment, self.buffer
        if segment is None or self.used == segment.header.records:
            segment = self._open_next()
        buffer.seal(self.used)
        self.is_mid_record = True
        segment.room.put(buffer.bytes, segment.header.data_offset + self.used * len(buffer.bytes))
        self.used, self.last_step, self.is_unsynced, self.is_mid_record = self.used + 1, step, True, False
        self.look_after()

    def _count_uncounted(self) -> None:
        """After a Ctrl-C in the middle of a record: it may be whole, and a reader may have seen it."""
        assert self.segment is not None
        path, header, descriptor, _ = self.segment
        found = scan(descriptor, header, path.name, start=self.used, after_step=self.last_step, is_complete=False)
        for place, step in zip(found.places.tolist(), found.steps.tolist(), strict=True):
            self.used, self.last_step, self.is_unsynced = place + 1, step, True
        self.is_mid_record = False

    def _open_next(self) -> OpenSegment:
        """Begin to fill the next segment: the one that was made ahead, or a new one."""
        if self.segment is not None:
            if self.is_unsynced:  # a Ctrl-C came between its last record and that
                self.sync_then()
            full, self.segment = self.segment, None  # first: a descriptor that is closed soon belongs to another file
            self._ahead.let_go(full)
        check_is_here(self.folder, self.run_id, self.named)
        path = self.folder / segment_name(self._number + 1)
        segment = self._ahead.take(path)
        self._is_name_unsynced = segment is not None
        if segment is None:
            segment = opened(path, self._make(path, self._number + 1, self._before + self.used))
        self.buffer.set_salt(segment.header.salt)
        self.next_sync = time.monotonic() + SYNC_SECONDS
        turn, before = _turn(segment.header.records, 0), self._before + self.used
        # At last, and at once: a Ctrl-C before it leaves everything as it was.
        self._number, self.used, self._before, self.turn, self.segment = self._number + 1, 0, before, turn, segment
        return segment

    def _make(self, path: Path, number: int, count: int) -> Header:
        """Make segment `number` at `path`, for records of the run from `count` on."""
        assert self.layout is not None
        records = records_in(self._segment_bytes, self.layout)
        if self._expected is not None and count < self._expected:  # past it, nobody knows how many come
            records = min(records, self._expected - count)
        return write_segment(path, number, records, self.layout, self.metadata)

    def look_after(self) -> float:
        """Make durable meanwhile what is written, and the next segment, halfway, so that it is ready when it is due.

        A full segment is made durable for certain, else only if the disk keeps up. Returns the time (monotonic) when
        there is something to do again, if that is not before: with `turn` records.
        """
        is_due = time.monotonic() >= self.next_sync
        if self.segment is None or (self.used < self.turn and not is_due):
            return self.next_sync
        records = self.segment.header.records
        is_full = self.used == records and self.is_unsynced
        if is_full or (is_due and not self._syncer.is_busy):
            self.sync_then()
        elif is_due:
            self.next_sync = time.monotonic() + SYNC_SECONDS
        if self.turn <= self.used < records:
            self.turn = records
            number, count = self._number + 1, self._before + records
            if count != self._expected:
                hidden = self.folder / f".{segment_name(number)}.{os.getpid()}.next.tmp"
                self._ahead.begin(hidden, lambda path: self._make(path, number, count))
        return self.next_sync

    def sync(self) -> None:
        """Wait until every committed record is durable. Raises OSError."""
        self.sync_then()
        self._syncer.wait()

    @property
    def is_syncing(self) -> bool:
        return self._syncer.is_busy

    def sync_then(self, *work: Callable[[], object]) -> None:
        """Make every committed record durable, then do `work`, in a thread. Raises what went wrong there before."""
        name = [partial(sync_folder, self.folder)] if self._is_name_unsynced else []
        descriptor = self.segment.descriptor if self.segment is not None and self.is_unsynced else None
        self._syncer.begin(descriptor, *name, *work)
        self.is_unsynced = self._is_name_unsynced = False
        self.next_sync = time.monotonic() + SYNC_SECONDS

    def close(self) -> None:
        """Write the last segment anew with exactly its records. Raises OSError; the old segment then stands."""
        try:
            if self.is_mid_record:
                self._count_uncounted()
            self.sync()
            if self.segment is not None and self.used:
                path, header, descriptor, _ = self.segment
                exact = (descriptor, header)
                write_segment(path, self._number, self.used, header.layout, header.metadata, copied=exact)
        finally:
            segment, self.segment = self.segment, None
            try:
                if segment is not None:
                    segment.close()
            finally:
                self._ahead.close()
                self._syncer.close()


def _turn(records: int, used: int) -> int:
    """When the next segment is begun: halfway, or with the next record."""
    return min(max(records // 2, used + 1), records)
