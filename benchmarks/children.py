"""Child processes to be killed, and the memory they share with the one that kills them."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from devi import DeviError, Run

SECONDS = 10.0  # a child that takes longer to answer hangs


class Board:
    """Memory that outlives the child: what it acknowledged, where it is, and its last words."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1 << 16)

    def _get(self, start: int, end: int) -> bytes:
        return self._memory[start:end].rstrip(b"\0")

    def _set(self, start: int, end: int, value: bytes) -> None:
        self._memory[start:end] = value[: end - start].ljust(end - start, b"\0")

    @property
    def acknowledged(self) -> int:
        return int.from_bytes(self._memory[:8], "little")

    @acknowledged.setter
    def acknowledged(self, count: int) -> None:
        self._memory[:8] = count.to_bytes(8, "little")

    @property
    def phase(self) -> str:
        return self._get(8, 32).decode()

    @phase.setter
    def phase(self, name: str) -> None:
        self._set(8, 32, name.encode())

    def ask(self) -> None:
        """In the child: have the parent do something, and wait for it."""
        self.phase = "asks"
        while self.phase == "asks":
            time.sleep(0.0002)
        if self.phase == "refused":
            raise DeviError(self.text)

    @property
    def text(self) -> str:
        return self._get(32, 1 << 16).decode(errors="replace")

    @text.setter
    def text(self, words: str) -> None:
        self._set(32, 1 << 16, words.encode())


def begin(board: Board, work: Callable[[], None]) -> int:
    """Fork a process that does `work`; its id. (A fork, because importing torch takes longer than a run here.)"""
    child = os.fork()
    if child:
        return child
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        board.phase = "start"
        work()
        os._exit(0)
    except BaseException:
        board.text = traceback.format_exc()[-60_000:]
    finally:
        os._exit(1)


def ended(child: int, *, wait: bool = True) -> int | None:
    """The child's exit code, -9 if a signal 9 ended it; None if it still runs."""
    found, status = os.waitpid(child, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def answer_of(work: Callable[[], Any], board: Board | None = None, asked: Callable[[], None] | None = None) -> Any:
    """What `work` returns, as JSON, from a child process; None if it crashed or hung.

    asked  is done here, in the parent, when the child calls `board.ask()`, and a DeviError of it is raised there
    """
    board = board or Board()

    def answer() -> None:
        board.text = json.dumps(work())
        os._exit(0)

    child, deadline = begin(board, answer), time.monotonic() + SECONDS
    while (code := ended(child, wait=False)) is None:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            ended(child)
            return None
        if asked is not None and board.phase == "asks":
            try:
                asked()
                board.phase = "done"
            except DeviError as error:
                board.text, board.phase = str(error), "refused"
        time.sleep(0.0005)
    if code != 0:
        print(board.text or f"exit {code}", file=sys.stderr)
        return None
    return json.loads(board.text)


def runs_bits(run: Run) -> dict[int, bytes]:
    """SHA-256 of all that one checkpoint holds, by step."""
    columns = [*run.parameters().values(), *run.buffers().values(), *(run.scalars[name].values for name in run.scalars)]
    return {
        int(step): hashlib.sha256(b"".join(column[row].tobytes() for column in columns)).digest()
        for row, step in enumerate(run.steps)
    }
