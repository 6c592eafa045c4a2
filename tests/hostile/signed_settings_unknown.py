"""A signed description with settings that the built-in task has not, one of them named like a method."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["metadata"]["settings"] = {"model": 3, "__class__": "os.system"}


def read(folder: Path) -> None:
    use(folder / "run")
