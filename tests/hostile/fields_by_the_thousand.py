"""A thousand tensors of one value each, the most that a file holds."""

from pathlib import Path

from forge import run_of, use

from devi.checkpoints.layout import Stored


def make(folder: Path) -> None:
    run_of(folder, tensors=tuple(Stored(f"p{number}", "float32", (1,), f"p{number}") for number in range(1000)))


def read(folder: Path) -> None:
    use(folder / "run")
