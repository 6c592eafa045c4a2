"""A signed description in a schema of the future: to go on reading it as today's would be a guess."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "schema 'devi/checkpoints/2'"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["schema"] = "devi/checkpoints/2"


def read(folder: Path) -> None:
    use(folder / "run")
