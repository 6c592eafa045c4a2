"""A named pipe as the lock file: opening it waits for ever."""

import os
from pathlib import Path

from forge import run_of, use


def make(folder: Path) -> None:
    run_of(folder)
    os.mkfifo(folder / "run" / "writer.lock")


def read(folder: Path) -> None:
    use(folder / "run")
