"""A signed resume slot whose structure is nested 90 deep, as much as is read."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    node: Any = None
    for _ in range(40):
        node = {"list": [node]}
    content["structure"]["state"] = {"optimizer": node}


def read(folder: Path) -> None:
    resumed(folder / "run")
