"""Forks: pieces of work side by side, each process with one thread and an interpreter of its own.

Two threads take turns at the interpreter, and where an operation takes microseconds they wait for it more than they
work. A forked process shares the parent's memory until it writes there, so nothing has to be sent to it. As in torch's
own data loaders it computes with one thread, because those of the parent do not come along.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from devi.errors import DeviError

Result = TypeVar("Result")
Report = Callable[[float], None]


def can_fork() -> bool:
    """On Linux, where the system's libraries outlive a fork, in a process that may have children."""
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


def given_cores() -> int:
    """The cores that this process may compute on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def cores() -> int:
    """How many forks may compute at once in place of threads: those cores, or fewer if OMP_NUM_THREADS says so."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(given_cores(), int(asked)) if asked.isdecimal() and int(asked) else given_cores()


def each(count: int, work: Callable[[int], Result], progress: Callable[[float], None]) -> list[Result]:
    """`work(number)` for every number below `count`: on all cores, where a fork can be, else one after another.

    progress  is told the share that is done
    """
    done = 0

    def heard(number: int, share: float) -> None:
        nonlocal done
        done += 1
        progress(done / count)

    def told(number: int, report: Report) -> Result:
        result = work(number)
        report(1.0)
        return result

    processes = min(cores(), count)
    if processes > 1 and can_fork():
        # Numpy's too. Here: told how many, OpenBLAS makes its threads anew, and they look for work all the time.
        with threadpool_limits(1):
            return in_forks(count, told, processes=processes, progress=heard)
    return [told(number, partial(heard, number)) for number in range(count)]


def end_with_parent() -> None:
    """From now on this process ends when the one that started it does, however that was: SIGKILL too.

    Without it, a worker of a pool waits for ever on a queue of which it holds both ends.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()  # waits on a pipe that the system closes, and needs no interpreter meanwhile
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def in_forks(
    count: int, work: Callable[[int, Report], Result], *, processes: int, progress: Callable[[int, float], None]
) -> list[Result]:
    """`work(number, report)` for every number below `count`, in `processes` processes; a result is sent as a pickle.

    progress  is told (number, share) of what is reported
    Raises what `work` raises; MemoryError for a process that the system killed.
    """
    context = multiprocessing.get_context("fork")
    found: dict[int, Result] = {}
    ahead = iter(range(count))
    children: list[Any] = []
    links: dict[Connection, Any] = {}  # to those that are at work

    def go_on(link: Connection) -> None:
        number = next(ahead, None)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it ended: its link says so next
            link.send(number)
        if number is None:
            del links[link]

    try:
        for _ in range(processes):
            mine, theirs = context.Pipe()
            # Its copies of our ends must go: as long as one is open, it would wait for us though we are gone.
            child = context.Process(target=_go, args=(theirs, work, [*links, mine]), daemon=True)
            with warnings.catch_warnings():  # Python 3.12 warns of other threads, of which none holds what is used here
                warnings.simplefilter("ignore", DeprecationWarning)
                child.start()
            links[mine] = child
            children.append(child)
            theirs.close()
            go_on(mine)
        while len(found) < count:
            for link in wait(list(links)):
                assert isinstance(link, Connection)
                try:
                    kind, number, content = pickle.loads(link.recv_bytes())
                except (EOFError, ConnectionResetError):
                    raise _ended(links[link]) from None
                if kind == "error":
                    raise content
                if kind == "share":
                    progress(number, content)
                else:
                    found[number] = content
                    go_on(link)
    finally:
        for child in children:
            child.kill()  # has nothing left to do, or what it does is not wanted any more
        for child in children:
            child.join()
    return [found[number] for number in range(count)]


def _ended(child: Any) -> Exception:
    """What to say of a process that ended before its work was done."""
    child.join()
    if child.exitcode == -signal.SIGKILL:
        return MemoryError("a forked process was killed, as the system does where memory ends")
    return RuntimeError(f"a forked process ended before its work was done (exit code {child.exitcode})")


def _go(link: Connection, work: Callable[[int, Report], Any], others: Sequence[Connection]) -> None:
    """In a forked process: work on the numbers that come, until none does."""
    for other in others:
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal: the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()  # now, not where it next has something to send
    if "torch" in sys.modules:  # which may know of libraries that were linked into it
        sys.modules["torch"].set_num_threads(1)

    def send(*message: object) -> None:
        link.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        while (number := link.recv()) is not None:
            try:
                result = work(number, partial(send, "share", number))
            except Exception as error:
                if not isinstance(error, DeviError):
                    error.add_note("".join(traceback.format_exception(error)))  # a pickle keeps notes, no traceback
                send("error", number, _portable(error))
            else:
                send("result", number, result)


def _portable(error: Exception) -> Exception:
    """The error, or its words where its class does not outlive a pickle."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])]))
