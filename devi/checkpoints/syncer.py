"""Syncer: makes a file durable in a thread of its own, so that training does not wait for the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from devi.checkpoints.worker import Job, Worker


class Syncer:
    """fsyncs one file at a time; what the system refuses is raised by the next call of `begin` or `wait`."""

    def __init__(self) -> None:
        self._worker = Worker("devi-sync")
        self._last: Job[None] | None = None

    @property
    def is_busy(self) -> bool:
        return self._last is not None and not self._last.is_done

    def begin(self, descriptor: int | None, *then: Callable[[], object]) -> None:
        """Begin to make durable what was written so far, and do what is to be done after that; the file may be closed
        meanwhile, or be none.

        The one before is waited for, so that no more than two segments are ever in danger.
        """
        self.wait()
        self._last = self._worker.job(partial(_sync, None if descriptor is None else os.dup(descriptor), then))
        self._last.begin()

    def wait(self) -> None:
        """Until the file is durable. Raises OSError."""
        last = self._last
        if last is not None:
            last.wait()  # and forgotten then: an interrupt while it is waited for loses no error
            self._last = None
            last.result()

    def close(self) -> None:
        self._worker.close()


def _sync(descriptor: int | None, then: tuple[Callable[[], object], ...]) -> None:
    if descriptor is not None:
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    for work in then:
        work()
