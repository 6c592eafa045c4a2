"""A signed tensor of no elements whose other lengths multiply to 2**93: an array of it cannot be made."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    tensors = content["record"]["tensors"]
    tensors.append(
        {"name": "x", "dtype": "float32", "shape": [0, *[2**31] * 3], "field": None, "buffer": False, "tied": []}
    )


def read(folder: Path) -> None:
    use(folder / "run")
