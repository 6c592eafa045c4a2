"""A repair.json that is a pipe, beside one run, and one of deep nesting, beside another."""

import os
from pathlib import Path

from forge import run_of, use


def make(folder: Path) -> None:
    run_of(folder)
    os.mkfifo(folder / "run" / "repair.json")


def read(folder: Path) -> None:
    use(folder / "run")
