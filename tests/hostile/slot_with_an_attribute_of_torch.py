"""A signed resume slot whose dtype names torch.load: an attribute of torch that is a function."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of

REFUSED = "is damaged and was not used"


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["structure"]["state"] = {"optimizer": {"torch": "torch.load"}}


def read(folder: Path) -> None:
    resumed(folder / "run")
