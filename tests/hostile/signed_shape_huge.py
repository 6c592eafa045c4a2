"""A signed description of a tensor of 2**40 values, in 40 axes."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["record"]["tensors"][0]["shape"] = [2] * 40


def read(folder: Path) -> None:
    use(folder / "run")
