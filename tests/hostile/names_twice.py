"""A signed description of two tensors of one name in two fields: one would hide the other."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    tensors = content["record"]["tensors"]
    tensors[1]["name"] = tensors[0]["name"]


def read(folder: Path) -> None:
    use(folder / "run")
