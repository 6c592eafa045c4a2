"""A signed description without a run id, by which segments of several runs are told apart."""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    del content["metadata"]["run_id"]


def read(folder: Path) -> None:
    use(folder / "run")
