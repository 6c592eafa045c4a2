"""A signed resume slot whose random states are lists: the generators would be set to them."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of

REFUSED = "random"


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    nothing = [["torch", {"list": []}], ["numpy", None], ["python", None], ["cuda", {"list": []}]]
    content["structure"]["random"] = {"dict": nothing}


def read(folder: Path) -> None:
    resumed(folder / "run")
