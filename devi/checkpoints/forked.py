"""Forked: who may use a Recorder. The process that opened it, one thread at a time; none that is forked from it."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import Protocol

from devi.errors import DeviError


class Recording(Protocol):
    def release(self) -> None: ...


class Opener:
    """The process that opened a Recorder. In a forked one its next record goes the long way, where it is refused.

    turn  of the threads that record; again for one that has it, for a signal's handler may close what it interrupts
    """

    def __init__(self, recorder: Recording) -> None:
        self._process = os.getpid()
        self.turn = threading.RLock()
        _OPEN[recorder] = self

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


_OPEN: weakref.WeakKeyDictionary[Recording, Opener] = weakref.WeakKeyDictionary()  # of all Recorders there are


def _take_the_long_way() -> None:
    """The short way of a record does not ask for the process; and the thread whose turn it is did not come along."""
    for recorder, opener in list(_OPEN.items()):
        recorder.release()
        opener.turn = threading.RLock()


os.register_at_fork(after_in_child=_take_the_long_way)
