"""A signed description whose task is a dict, settings a list, seed a text, versions a number, training null."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["metadata"] = {"task": {}, "settings": ["x"], "seed": "0", "versions": 7, "training": None, "run_id": []}


def read(folder: Path) -> None:
    use(folder / "run")
