"""Tensors of no elements whose other lengths multiply to more than memory."""

from pathlib import Path

from forge import run_of, use

from devi.checkpoints.layout import Stored


def make(folder: Path) -> None:
    run_of(folder, tensors=(Stored("W", "float32", (1,), "W"), Stored("none", "float32", (2**16, 0, 2**16), None)))


def read(folder: Path) -> None:
    use(folder / "run")
