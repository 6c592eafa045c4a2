"""A signed description with 5.0 and 1e400 for whole numbers."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["records"] = 5.0
    content["segment"] = 0.5


def read(folder: Path) -> None:
    use(folder / "run")
