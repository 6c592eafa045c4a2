"""A signed description whose dtype names an attribute of torch that is no dtype: it would be looked up and called."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["record"]["tensors"][0]["dtype"] = "load"


def read(folder: Path) -> None:
    use(folder / "run")
