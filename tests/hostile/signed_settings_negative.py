"""A signed description with negative, NaN-like and text settings for the built-in task."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["metadata"]["settings"] = {"features": -5, "hidden": "many", "density": "nan"}


def read(folder: Path) -> None:
    use(folder / "run")
