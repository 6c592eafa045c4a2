"""A signed description of a shape whose product wraps around to 12 in 64 bits."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["record"]["tensors"][0]["shape"] = [2**32, 2**32, 12]


def read(folder: Path) -> None:
    use(folder / "run")
