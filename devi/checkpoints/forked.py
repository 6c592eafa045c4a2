"""Forked: what a process forked from the one that opened a Recorder may not do with it."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Protocol

from devi.errors import DeviError


class Recording(Protocol):
    def in_fork(self) -> None: ...


class Opener:
    """The process that opened a Recorder. In a forked one its next record goes the long way, where it is refused."""

    def __init__(self, recorder: Recording) -> None:
        self._process = os.getpid()
        _OPEN.add(recorder)

    @property
    def is_here(self) -> bool:
        return self._process == os.getpid()

    def check(self, path: Path) -> None:
        """Raise DeviError in any other process."""
        if not self.is_here:
            raise DeviError(
                f"{path}: process {self._process} opened this Recorder, and this is process {os.getpid()}, forked"
                " from it. A run has one writer: record there, or make a Recorder for another path here."
            )


_OPEN: weakref.WeakSet[Recording] = weakref.WeakSet()  # all Recorders there are


def _take_the_long_way() -> None:
    """The short way of a record does not ask for the process."""
    for recorder in list(_OPEN):
        recorder.in_fork()


os.register_at_fork(after_in_child=_take_the_long_way)
