"""A signed resume slot whose model is a list where a dict of tensors should be."""

from pathlib import Path
from typing import Any

from forge import changed, resumed, slot_of

REFUSED = "the model does not fit"


def make(folder: Path) -> None:
    changed(slot_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["structure"]["model"] = {"list": []}


def read(folder: Path) -> None:
    resumed(folder / "run")
