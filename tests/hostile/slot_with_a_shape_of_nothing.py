"""A signed resume slot with an array of no values whose other lengths multiply to 2**186."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of

REFUSED = "is damaged and was not used"


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["arrays"][0]["shape"] = [0, 2**62, 2**62, 2**62]


def read(folder: Path) -> None:
    resumed(folder / "run")
