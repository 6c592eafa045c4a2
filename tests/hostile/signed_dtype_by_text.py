"""A signed description whose dtype is a text that numpy parses: '(1000000000,)f8', a structure, a pickle."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["record"]["tensors"][0]["dtype"] = "(1000000000,)f8,O"


def read(folder: Path) -> None:
    use(folder / "run")
