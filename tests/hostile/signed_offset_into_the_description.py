"""A signed description that puts the records inside itself: text would be read as weights."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["data_offset"] = 8


def read(folder: Path) -> None:
    use(folder / "run")
