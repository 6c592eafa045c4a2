"""A signed description with a key that no writer writes: what would it mean?"""

from pathlib import Path
from typing import Any

from forge import changed, run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    changed(run_of(folder), attack)


def attack(content: dict[str, Any]) -> None:
    content["pickle"] = "gASVIQAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOU"


def read(folder: Path) -> None:
    use(folder / "run")
