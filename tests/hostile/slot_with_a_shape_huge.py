"""A signed resume slot with an array of 2**60 values: room for it would fill memory."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of

REFUSED = "is damaged and was not used"


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["arrays"][0]["shape"] = [2**30, 2**30]


def read(folder: Path) -> None:
    resumed(folder / "run")
