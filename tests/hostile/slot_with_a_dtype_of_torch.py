"""A signed resume slot whose tensor has for dtype the name of a function of torch."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of

REFUSED = "is damaged and was not used"


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["structure"]["model"] = {"tensor": 0, "dtype": "load"}


def read(folder: Path) -> None:
    resumed(folder / "run")
