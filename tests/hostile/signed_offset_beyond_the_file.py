"""A signed description that puts the records at 2**62 bytes: a reader would look there, or ask for that much."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["data_offset"] = 2**62


def read(folder: Path) -> None:
    use(folder / "run")
