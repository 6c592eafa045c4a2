"""A signed resume slot with a node of kind 'pickle', for a reader that would look one up and load it."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of

REFUSED = "is damaged and was not used"


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["structure"]["state"] = {"optimizer": {"pickle": "gASVIQAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOU"}}


def read(folder: Path) -> None:
    resumed(folder / "run")
