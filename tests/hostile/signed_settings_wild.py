"""A signed description that asks the built-in task for a model of 10**12 features: building it would fill memory."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["metadata"]["settings"] = {"features": 10**12, "hidden": 10**12}


def read(folder: Path) -> None:
    use(folder / "run")
