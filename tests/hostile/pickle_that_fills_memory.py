"""A .pt file that calls bytearray(10**11): torch allows that call, and it would fill 100 GB with zeros."""

from pathlib import Path

from stranger import STATE, Call, converted, description_of, torch_file

REFUSED = "bytearray"


def make(folder: Path) -> None:
    torch_file(folder / "step_1.pt", description_of({**dict.fromkeys(STATE), "bomb": Call(bytearray, 10**11)}))


def read(folder: Path) -> None:
    converted(folder)
