"""A signed description whose fields lie upon one another and outside the record."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    for field in content["record"]["fields"]:
        field[3] = 2**31


def read(folder: Path) -> None:
    use(folder / "run")
