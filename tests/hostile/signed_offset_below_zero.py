"""A signed description with a negative offset, which seeks from somewhere else in a careless reader."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["data_offset"] = -(2**63)


def read(folder: Path) -> None:
    use(folder / "run")
