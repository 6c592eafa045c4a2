"""A signed description of fields of Python objects: their bytes would be taken for pointers."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["record"]["fields"][2][1] = "|O"
    content["record"]["tensors"][0]["dtype"] = "object"


def read(folder: Path) -> None:
    use(folder / "run")
