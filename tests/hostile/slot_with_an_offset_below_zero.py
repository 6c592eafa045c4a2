"""A signed resume slot with an array before the beginning of the file."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of

REFUSED = "is damaged and was not used"


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["arrays"][0]["offset"] = -8


def read(folder: Path) -> None:
    resumed(folder / "run")
