"""Ahead: the next segment, made in a thread of its own while the one before it fills, under a name that nobody reads.

To make a segment is to wait for the disk, which has just then the full one to write; to let one go is to give back
64 MiB of mapped pages. Recording waits for neither.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from devi.checkpoints.header import Header
from devi.checkpoints.room import Room
from devi.checkpoints.worker import Job, Worker


class OpenSegment(NamedTuple):
    """A segment that takes records."""

    path: Path
    header: Header
    descriptor: int
    room: Room

    def close(self) -> None:
        self.room.close()
        os.close(self.descriptor)


def opened(path: Path, header: Header, used: int = 0) -> OpenSegment:
    """The segment, to be filled from record `used` on."""
    descriptor, size = os.open(path, os.O_RDWR | os.O_CLOEXEC), header.layout.dtype.itemsize
    return OpenSegment(path, header, descriptor, Room(descriptor, header.data_offset + used * size, header.end, size))


class Ahead:
    """Makes and lets go of one segment at a time."""

    def __init__(self) -> None:
        self._worker = Worker("devi-ahead")
        self._next: Job[OpenSegment] | None = None

    def begin(self, path: Path, make: Callable[[Path], Header]) -> None:
        """Have a segment made at `path`, where nobody looks for one, and its first room."""
        self._next = self._worker.job(partial(_made, path, make))
        self._next.begin()

    def take(self, path: Path) -> OpenSegment | None:
        """The segment, waited for and moved to `path`; None if none was begun, or something kept it from being made:
        whoever makes it instead meets what that was. Raises OSError."""
        made = self._taken()
        if made is None:
            return None
        try:
            os.replace(made.path, path)
        except BaseException:
            _thrown_away(made)
            raise
        return made._replace(path=path)

    def let_go(self, segment: OpenSegment) -> None:
        """Close a segment that takes no more records."""
        self._worker.job(segment.close).begin()

    def close(self) -> None:
        """Throw away what was made and not taken."""
        unused = self._taken()
        if unused is not None:
            _thrown_away(unused)
        self._worker.close()

    def _taken(self) -> OpenSegment | None:
        made = self._next
        if made is None:
            return None
        made.wait()  # known before it is forgotten: an interrupt while it is waited for loses nothing
        self._next = None
        return made.result() if made.error is None else None


def _thrown_away(segment: OpenSegment) -> None:
    segment.close()
    segment.path.unlink(missing_ok=True)


def _made(path: Path, make: Callable[[Path], Header]) -> OpenSegment:
    with contextlib.ExitStack() as undo:
        undo.callback(path.unlink, missing_ok=True)
        segment = opened(path, make(path))
        undo.callback(segment.close)
        segment.room.begin()
        undo.pop_all()
        return segment
