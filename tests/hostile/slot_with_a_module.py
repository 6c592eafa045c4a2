"""A signed resume slot whose device names a module to import."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of

REFUSED = "is damaged and was not used"


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["structure"]["state"] = {"optimizer": {"torch": "os.system"}}


def read(folder: Path) -> None:
    resumed(folder / "run")
