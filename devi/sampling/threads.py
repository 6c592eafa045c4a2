"""Threads: pieces of work side by side, each on one thread with single-threaded operations.

Operations on a few replicas are too short to be split well: with two threads inside them a step took as long as with
one, and 20 times as long when another process held a core. Whole pieces side by side share nothing.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Own = TypeVar("Own")
Result = TypeVar("Result")


def side_by_side(
    count: int, work: Callable[[int, Own], Result], own: Callable[[], Own], *, threads: int
) -> list[Result]:
    """`work(number, own)` for every number below `count`; each thread has an `own` that no other uses."""
    spare: queue.SimpleQueue[Own] = queue.SimpleQueue()
    for _ in range(threads):
        spare.put(own())

    def on_a_thread(number: int) -> Result:
        mine = spare.get()
        try:
            return work(number, mine)
        finally:
            spare.put(mine)

    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(on_a_thread, range(count)))
    finally:
        torch.set_num_threads(before)
