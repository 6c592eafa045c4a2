"""Names of 200,000 characters: printed, they would flood the screen."""

from pathlib import Path

from forge import run_of, use

from devi.checkpoints.layout import Stored


def make(folder: Path) -> None:
    tensors = (Stored("W" * 50_000, "float32", (2,), "W" * 50_000),)
    run_of(folder, tensors=tensors, metadata={"task": "t" * 200_000, "note": ["n" * 200_000]})


def read(folder: Path) -> None:
    use(folder / "run")
