"""A signed resume slot with an array of Python objects: its bytes would be taken for pointers."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of

REFUSED = "is damaged and was not used"


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["arrays"][0]["dtype"] = "|O"


def read(folder: Path) -> None:
    resumed(folder / "run")
