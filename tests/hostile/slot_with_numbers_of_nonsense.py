"""A signed resume slot whose numbers are texts that Python's int refuses, 4,000 digits long."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of

REFUSED = "is damaged and was not used"


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["structure"]["state"] = {"optimizer": {"int": "9" * 4400}}


def read(folder: Path) -> None:
    resumed(folder / "run")
