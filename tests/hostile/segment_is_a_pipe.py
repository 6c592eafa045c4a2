"""A named pipe in the place of a segment: opening it waits for ever."""

import os
from pathlib import Path

from forge import run_of, use

REFUSED = "not a regular file"


def make(folder: Path) -> None:
    path = run_of(folder)
    path.unlink()
    os.mkfifo(path)


def read(folder: Path) -> None:
    use(folder / "run")
