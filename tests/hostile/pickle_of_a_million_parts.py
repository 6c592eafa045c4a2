"""A .pt file whose pickle is 10 million instructions that make nothing: seconds of work for its loader."""

from pathlib import Path

from stranger import converted, torch_file

REFUSED = "parts"


def make(folder: Path) -> None:
    torch_file(folder / "step_1.pt", b"\x80\x02]" + b"N" * 10_000_000 + b"e.")


def read(folder: Path) -> None:
    converted(folder)
