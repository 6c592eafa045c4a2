"""A signed description whose metadata is a list, where the reader looks names up."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["metadata"] = [1, 2, 3]


def read(folder: Path) -> None:
    use(folder / "run")
