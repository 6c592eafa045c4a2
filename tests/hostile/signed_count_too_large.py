"""A signed description of more records than the file has: reading on would take the trailer for weights."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["records"] = 8192


def read(folder: Path) -> None:
    use(folder / "run")
