"""A signed resume slot of a dict whose keys are lists."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of

REFUSED = "is damaged and was not used"


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["structure"]["state"] = {"optimizer": {"dict": [[{"list": []}, None]]}}


def read(folder: Path) -> None:
    resumed(folder / "run")
