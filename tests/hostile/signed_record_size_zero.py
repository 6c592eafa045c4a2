"""A signed description of records of no bytes: dividing by the size, or a table of 2**31 of them."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["record"]["itemsize"] = 0


def read(folder: Path) -> None:
    use(folder / "run")
