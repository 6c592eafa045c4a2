"""A signed description of a shape (-2, -6): its product is right, its lengths are not."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["record"]["tensors"][0]["shape"] = [-2, -6]


def read(folder: Path) -> None:
    use(folder / "run")
