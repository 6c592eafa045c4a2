"""A .pt file where W begins a gigabyte behind the 128 bytes that its storage has: other memory would be read."""

from pathlib import Path

from stranger import Storage, converted, description_of, tensor, torch_file


def make(folder: Path) -> None:
    state = {"W": tensor(Storage(), 1 << 28, (2, 6), (6, 1)), "b": tensor(Storage(), 0, (6,), (1,))}
    torch_file(folder / "step_1.pt", description_of(state))


def read(folder: Path) -> None:
    converted(folder)
