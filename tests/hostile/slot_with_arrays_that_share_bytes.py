"""A signed resume slot of 5,000 arrays that are all the same bytes of the file: together they fill memory."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of

REFUSED = "is damaged and was not used"


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    largest = max(content["arrays"], key=lambda array: array["shape"])
    content["arrays"] += [dict(largest) for _ in range(5_000)]


def read(folder: Path) -> None:
    resumed(folder / "run")
