"""Forks: pieces of work side by side, each process with one thread and an interpreter of its own.

Two threads take turns at the interpreter, and where an operation takes microseconds they wait for it more than they
work. A forked process shares the parent's memory until it writes there, so nothing has to be sent to it. As in torch's
own data loaders it computes with one thread, because those of the parent do not come along.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

Result = TypeVar("Result")
Report = Callable[[float], None]


def can_fork() -> bool:
    """On Linux, where the system's libraries outlive a fork, in a process that may have children."""
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


def cores() -> int:
    """How many processes may compute at once: the cores given to this one, or fewer if OMP_NUM_THREADS says so."""
    given = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(given, int(asked)) if asked.isdecimal() and int(asked) else given


def in_forks(
    count: int, work: Callable[[int, Report], Result], *, processes: int, progress: Callable[[int, float], None]
) -> list[Result]:
    """`work(number, report)` for every number below `count`, in `processes` processes; a result is sent as a pickle.

    progress  is told (number, share) of what is reported
    Raises what `work` raises; MemoryError for a process that the system killed.
    """
    context = multiprocessing.get_context("fork")
    found: dict[int, Result] = {}
    links: dict[Connection, Any] = {}
    try:
        for first in range(processes):
            mine, theirs = context.Pipe(duplex=False)
            child = context.Process(target=_go, args=(theirs, range(first, count, processes), work), daemon=True)
            with warnings.catch_warnings():  # Python 3.12 warns of other threads, of which none holds what is used here
                warnings.simplefilter("ignore", DeprecationWarning)
                child.start()
            links[mine] = child
            theirs.close()
        children = list(links.values())
        while links and len(found) < count:
            for link in wait(list(links)):
                assert isinstance(link, Connection)
                try:
                    kind, number, content = pickle.loads(link.recv_bytes())
                except EOFError:
                    links.pop(link).join()
                    continue
                if kind == "error":
                    raise content
                if kind == "share":
                    progress(number, content)
                else:
                    found[number] = content
    finally:
        for child in links.values():
            child.kill()  # has nothing left to do, or what it does is not wanted any more
    if len(found) < count:
        codes = [child.exitcode for child in children]
        if -signal.SIGKILL in codes:
            raise MemoryError("a process that sampled was killed, as the system does where memory ends")
        raise RuntimeError(f"a process that sampled ended before its work was done (exit codes {codes})")
    return [found[number] for number in range(count)]


def _go(link: Connection, numbers: Sequence[int], work: Callable[[int, Report], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal: the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if "torch" in sys.modules:  # the report's processes do without
        sys.modules["torch"].set_num_threads(1)

    def send(*message: object) -> None:
        link.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    try:
        for number in numbers:
            result = work(number, partial(send, "share", number))
            send("result", number, result)
    except BrokenPipeError:
        pass  # the parent is gone
    except Exception as error:
        try:
            send("error", number, error)
        except (pickle.PicklingError, TypeError, AttributeError):
            send("error", number, RuntimeError(f"{type(error).__name__}: {error}"))
