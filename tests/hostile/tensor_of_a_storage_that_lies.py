"""A .pt file whose storage is said to have a billion numbers and has 32."""

from pathlib import Path

from stranger import Storage, converted, description_of, tensor, torch_file


def make(folder: Path) -> None:
    storage = Storage(10**9)
    state = {"W": tensor(storage, 10**9 - 12, (2, 6), (6, 1)), "b": tensor(storage, 0, (6,), (1,))}
    torch_file(folder / "step_1.pt", description_of(state))


def read(folder: Path) -> None:
    converted(folder)
