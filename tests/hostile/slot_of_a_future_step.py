"""A signed resume slot that stands at a step far beyond the last checkpoint."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["step"] = 2**62


def read(folder: Path) -> None:
    resumed(folder / "run")
