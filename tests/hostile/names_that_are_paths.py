"""Tensor, scalar and task names that lead out of the folder, where something could be written by name."""

from pathlib import Path

from forge import run_of, use

from devi.checkpoints.layout import Stored


def make(folder: Path) -> None:
    up = "../" * 8 + f"{folder}/harmed"
    tensors = (Stored(up, "float32", (2,), up), Stored("/etc/passwd", "float32", (2,), "/etc/passwd"))
    run_of(folder, tensors=tensors, scalars=(f"{folder}/harmed",), metadata={"task": up, "run_id": up})


def read(folder: Path) -> None:
    use(folder / "run")
