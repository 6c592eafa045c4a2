"""A signed description whose numbers have 4,000 digits: arithmetic on them takes time."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["records"] = content["data_offset"] = content["segment"] = 10**4000


def read(folder: Path) -> None:
    use(folder / "run")
