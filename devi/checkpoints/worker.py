"""Worker: a thread that does one job after another, and that no Ctrl-C in the thread it works for can leave waiting.

The executors of concurrent.futures hand jobs over under locks in Python code. A Ctrl-C in the midst of that leaves one
of them held, and the process waits for it until it is killed. Here a queue in C takes them, one call, done or not.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Job(Generic[Result]):
    """Something for a worker to do, once."""

    def __init__(self, queue: SimpleQueue[Job | None], work: Callable[[], Result]) -> None:
        self.is_done = False
        self.error: BaseException | None = None  # what went wrong with it
        self._work: Callable[[], Result] | None = work
        self._queue = queue
        self._given: list[Result] = []
        self._end = threading.Lock()  # held until it is done
        self._end.acquire()

    def begin(self) -> None:
        self._queue.put(self)

    def wait(self) -> None:
        """Until it is done, well or not."""
        if not self.is_done:
            self.begin()  # once more: a Ctrl-C may have come between its making and its beginning
        while not self.is_done:
            if self._end.acquire(timeout=1.0):  # a Ctrl-C right here leaves it held: therefore not for longer
                self._end.release()

    def result(self) -> Result:
        """What it gave, waited for. Raises what went wrong."""
        self.wait()
        if self.error is not None:
            raise self.error
        return self._given[0]

    def do(self) -> None:
        """In the worker's thread."""
        if self._work is None:
            return
        try:
            self._given.append(self._work())
        except BaseException as error:
            self.error = error
        self._work = None  # and with it what it holds
        self.is_done = True
        self._end.release()


class Worker:
    """A thread for one job after another; it ends with `close`, with this object, and with the process."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        threading.Thread(target=_work, args=(self._queue,), name=name, daemon=True).start()
        weakref.finalize(self, self._queue.put, None).atexit = False
        _WORKERS.add(self)

    def job(self, work: Callable[[], Result]) -> Job[Result]:
        """What `begin` begins: whoever keeps it before that loses track of nothing by a Ctrl-C."""
        return Job(self._queue, work)

    def close(self) -> None:
        """Wait for what was begun, and end the thread."""
        if self in _WORKERS:
            self.job(int).wait()
            _WORKERS.discard(self)
            self._queue.put(None)


def _work(queue: SimpleQueue[Job | None]) -> None:
    while (job := queue.get()) is not None:
        job.do()
        del job  # nothing is kept alive by waiting for the next one


_WORKERS: weakref.WeakSet[Worker] = weakref.WeakSet()  # that are open
os.register_at_fork(after_in_child=_WORKERS.clear)  # no thread comes along: it would be waited for forever


@atexit.register
def _close_all() -> None:
    for worker in list(_WORKERS):
        worker.close()
