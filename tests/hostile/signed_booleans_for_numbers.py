"""A signed description with true for its numbers, which Python counts as 1."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["records"] = content["segment"] = content["user_block"] = True


def read(folder: Path) -> None:
    use(folder / "run")
