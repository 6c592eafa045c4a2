"""A .pt file where W has strides that lead before the start of its storage."""

from pathlib import Path

from stranger import Storage, converted, description_of, tensor, torch_file


def make(folder: Path) -> None:
    state = {"W": tensor(Storage(), 0, (2, 6), (-6000, -1)), "b": tensor(Storage(), 0, (6,), (1,))}
    torch_file(folder / "step_1.pt", description_of(state))


def read(folder: Path) -> None:
    converted(folder)
