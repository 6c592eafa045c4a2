"""Room: where the next records of a segment go, made ready in a thread of its own, so that to record is to copy memory.

Zeros are written ahead of the records, and the file is mapped there. A record is then copied into pages that are in
memory, with blocks on the disk that are the file's already: no system call, nothing to allocate. That a disk is full
shows when zeros are written, as an error; a store into a map could only answer with SIGBUS.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from functools import partial

from devi.checkpoints.userblock import write_all
from devi.checkpoints.worker import Job, Worker

# Where a store into a block that was written before cannot meet a full disk. Elsewhere (btrfs, zfs, xfs with shared
# blocks, overlay) a block may be written to another place each time, or on another machine: records are written there.
STAYS_IN_PLACE = frozenset({"ext4", "tmpfs"})
# For more at once Linux takes large pages, which on a virtual machine are often not there yet. 907 KB then took 1.3 to
# 1.8 ms; in pieces 0.19 ms, 0.2 to 0.26 ms with pages at hand.
PIECE_BYTES = 1 << 16
AHEAD_RECORDS, LEAST_AHEAD, MOST_AHEAD = 64, 1 << 16, 8 << 20
# A larger record is written: a model of that size should not be in memory once more as pages of a file.
MOST_MAPPED_BYTES = 1 << 20
_POPULATE_WRITE = 23  # madvise, Linux 5.14: without it the first store into each page costs a fault
_ZEROS = memoryview(bytes(PIECE_BYTES))


class Room:
    """The places of a segment from byte `start` to `end` of its file, for records of `size` bytes; all of them free."""

    def __init__(self, descriptor: int, start: int, end: int, size: int) -> None:
        self._descriptor, self._end = descriptor, end
        is_whole = os.fstat(descriptor).st_size >= end
        is_mapped = is_whole and size <= MOST_MAPPED_BYTES and file_system(descriptor) in STAYS_IN_PLACE
        self._map = mmap.mmap(descriptor, end) if is_mapped else None
        self._made = self._asked = start  # zeros are written up to here; and will be up to there
        self._ahead = min(max(AHEAD_RECORDS * size, LEAST_AHEAD), MOST_AHEAD)
        self._is_cut = False
        self._easy = 0  # records up to here are copied, and nothing else is to be done
        self._file_size = partial(os.lseek, descriptor, 0, os.SEEK_END)  # the quickest way to it
        self._worker: Worker | None = None
        self._making: Job[None] | None = None
        if is_mapped and self._ahead > LEAST_AHEAD:  # the room for 64 small records is made in less time than a thread
            self._worker = Worker("devi-room")

    def put(self, record: memoryview, at: int) -> None:
        """Put a record at byte `at`, right behind the one before. Raises OSError if there is no room on the disk."""
        end = at + len(record)
        if end <= self._easy:
            self._copy(record, at, end)
        elif self._map is None or self._is_cut:
            self._write(record, at)
        else:
            if end > self._made:
                self._wait(end)
            self._copy(record, at, end)
            self._ask_if_due(end)

    def _ask_if_due(self, end: int) -> None:
        """Have more room made, with so little left behind byte `end`; and know until where none need be."""
        if self._is_cut:
            return
        self._easy = self._made
        if self._worker is not None:
            if self._asked - end < self._ahead // 2:
                self._ask(end)
            self._easy = min(self._made, self._asked - self._ahead // 2)

    def _copy(self, record: memoryview, at: int, end: int) -> None:
        # To touch a mapped page that is no longer in the file would kill the process, and training with it: so it is
        # looked for right before. What is cut between the look and the copy, a microsecond, still does.
        if self._file_size() < end:
            self._is_cut, self._easy = True, 0  # by somebody else: what is left is found out when it is read
            self._write(record, at)
            return
        self._map[at:end] = record  # type: ignore[index]

    def begin(self) -> None:
        """Make room for the first records. Raises OSError."""
        if self._map is not None:
            self._make(min(self._made + self._ahead, self._end))
            self._asked = self._made

    def rest(self) -> None:
        """Wait until no room is being made."""
        if self._making is not None:
            self._making.wait()

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
        if self._map is not None:
            self._map.close()

    def _write(self, record: memoryview, at: int) -> None:
        first = PIECE_BYTES - at % PIECE_BYTES if len(record) > PIECE_BYTES else len(record)
        write_all(self._descriptor, record[:first], at)
        for start in range(first, len(record), PIECE_BYTES):
            write_all(self._descriptor, record[start : start + PIECE_BYTES], at + start)

    def _ask(self, end: int) -> None:
        """Have room made in the thread, unless it is at work or all is made."""
        if self._asked < self._end and (self._making is None or self._making.is_done):
            assert self._worker is not None
            self._asked = min(max(end, self._made) + self._ahead, self._end)
            self._making = self._worker.job(partial(self._make, self._asked))
            self._making.begin()

    def _wait(self, end: int) -> None:
        """Until there is room up to byte `end`. Raises OSError for what kept it from being made."""
        if self._making is not None:
            self._making.wait()  # what it is shows below, if room is still wanting
        if end > self._made:
            self._make(min(end + self._ahead // 2, self._end))
        self._asked = max(self._asked, self._made)

    def _make(self, end: int) -> None:
        """Write zeros up to byte `end`, and have the pages mapped."""
        assert self._map is not None
        while self._made < end:
            stop = min(end, (self._made // PIECE_BYTES + 1) * PIECE_BYTES)
            write_all(self._descriptor, _ZEROS[: stop - self._made], self._made)
            page = self._made - self._made % mmap.PAGESIZE
            with contextlib.suppress(OSError):
                self._map.madvise(_POPULATE_WRITE, page, stop - page)
            self._made = stop


def file_system(descriptor: int) -> str | None:
    """The kind of file system that a file is on, as Linux calls it; None where that cannot be told."""
    number = os.fstat(descriptor).st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                place, _, kind = line.partition(" - ")
                if place.split(" ", 3)[2] == device:
                    return kind.split(" ", 1)[0]
    except OSError:
        pass
    return None
