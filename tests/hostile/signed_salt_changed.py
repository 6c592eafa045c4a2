"""A signed description with another salt: every record was sealed with the old one, so none may be believed."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["salt"] = "0" * 32


def read(folder: Path) -> None:
    use(folder / "run")
