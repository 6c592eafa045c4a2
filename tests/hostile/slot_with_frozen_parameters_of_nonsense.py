"""A signed resume slot whose list of parameters that are not trained is a list of lists."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of

REFUSED = "does not fit the one that was kept"


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["structure"]["frozen"] = {"list": [{"list": []}]}


def read(folder: Path) -> None:
    resumed(folder / "run")
