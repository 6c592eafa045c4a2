"""Executors: where blocks of checkpoints are worked on. Here, or in processes; a cluster needs the same one method."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol

from devi.errors import DeviError
from devi.forks import cores, end_with_parent, given_cores
from devi.plugins import import_files, imported_files

ELSEWHERE = (
    "What is defined in a notebook, a function or a file that is gone, or holds open files or locks, reaches no other"
    " process: define it in a .py file, or work with one worker."
)


class Executor(Protocol):
    workers: int  # items worked on at once, for sharing memory

    def done(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """(place, `function` of the item there) as each is done, whichever is first: what is done can be kept."""


class Here:
    """In this process, one item after another."""

    workers = 1

    def done(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        return enumerate(map(function, items))


class Processes:
    """In `workers` fresh processes on this machine; each uses its share of the cores, and ends when this one does."""

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise DeviError(f"workers must be 1 or more, got {workers}. Try: --workers {given_cores()}")
        self.workers = workers

    def done(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        # Spawned, not forked: a forked process inherits torch's thread pool without its threads, and hangs.
        pool = ProcessPoolExecutor(
            self.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_prepare_worker,
            initargs=(max(1, cores() // self.workers), sys.stdout is sys.stderr),
        )
        others = set(multiprocessing.active_children())
        try:
            files = [file for file in imported_files() if Path(file).is_file()]  # any other: not needed, or told there
            places = {pool.submit(_done, files, _packed(function, item)): place for place, item in enumerate(items)}
            for future in as_completed(places):
                yield places[future], future.result()
        except BrokenProcessPool:
            raise DeviError(
                f"one of {self.workers} worker processes was killed, as the system does where memory ends. Type"
                " the same again with fewer --workers, or with less --memory: blocks of checkpoints that were finished"
                " and stay as large are used again."
            ) from None
        except (KeyboardInterrupt, GeneratorExit):
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()  # nobody waits for what it is at
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def in_order(results: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    """What an executor has done in the order of the items, each as soon as those before it are there."""
    waiting: dict[int, Any] = {}
    following = 0
    for place, result in results:
        waiting[place] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def executor_for(workers: int) -> Executor:
    return Here() if workers == 1 else Processes(workers)


def _prepare_worker(threads: int, is_quiet: bool) -> None:
    """is_quiet: stdout is kept for --json's document, and what a user's metric prints here goes to stderr too."""
    end_with_parent()
    if is_quiet:
        sys.stdout = sys.stderr
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal: the first one decides
    import torch

    torch.set_num_threads(threads)


def _packed(function: Callable[[Any], Any], item: Any) -> bytes:
    try:
        return pickle.dumps((function, item))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise DeviError(f"this cannot be handed to a worker process: {error}. {ELSEWHERE}") from None


def _done(files: list[str], given: bytes) -> Any:
    """In a worker: what a function returns for an item. Unpickled here, where a failure has somewhere to be told."""
    import_files(files)  # a task from the user's own file can only be unpickled once that file is imported
    try:
        function, item = pickle.loads(given)
    except (AttributeError, ImportError) as error:
        raise DeviError(f"a worker process lacks what this one has: {error}. {ELSEWHERE}") from None
    return function(item)
