"""A lock file of 4 GiB, sparse: reading it whole would fill memory."""

import os
from pathlib import Path

from forge import run_of, use


def make(folder: Path) -> None:
    run_of(folder)
    lock = folder / "run" / "writer.lock"
    lock.touch()
    os.truncate(lock, 2**32)


def read(folder: Path) -> None:
    use(folder / "run")
