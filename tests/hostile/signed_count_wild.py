"""A signed description of 2**60 records: room for all of them would fill memory."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["records"] = 2**60


def read(folder: Path) -> None:
    use(folder / "run")
