"""A signed description whose salt is a list of lists instead of hex digits."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["salt"] = [[]]


def read(folder: Path) -> None:
    use(folder / "run")
