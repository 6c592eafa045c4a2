"""A signed resume slot whose counter is 2**200 and whose step is true."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of

REFUSED = "is damaged and was not used"


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["counter"], content["step"] = 2**200, True


def read(folder: Path) -> None:
    resumed(folder / "run")
