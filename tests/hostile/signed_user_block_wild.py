"""A signed description of a user block of 2**40 bytes: hashing up to there takes for ever."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["user_block"] = 2**40


def read(folder: Path) -> None:
    use(folder / "run")
