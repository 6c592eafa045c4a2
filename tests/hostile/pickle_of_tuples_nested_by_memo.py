"""Tuples nested 60,000 deep with a store and a fetch after each, so that no two nestings stand side by side."""

from pathlib import Path

from stranger import converted, torch_file

REFUSED = "nested"


def make(folder: Path) -> None:
    deep = b")" + b"\x85q\x00h\x00" * 60_000  # tuple of one, memo 0, fetch memo 0
    torch_file(folder / "step_1.pt", b"\x80\x02}" + deep + b"K\x01s.")


def read(folder: Path) -> None:
    converted(folder)
