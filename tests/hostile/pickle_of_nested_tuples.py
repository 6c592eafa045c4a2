"""A .pt file whose dict has a key of 200,000 nested tuples: hashing it overruns the C stack and ends the process."""

from pathlib import Path

from stranger import converted, torch_file

REFUSED = "nested"


def make(folder: Path) -> None:
    deep = b")" + b"\x85" * 200_000  # an empty tuple, then a tuple of one around it, and so on
    torch_file(folder / "step_1.pt", b"\x80\x02}" + deep + b"K\x01s.")


def read(folder: Path) -> None:
    converted(folder)
