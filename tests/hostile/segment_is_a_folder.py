"""A folder in the place of a segment."""

from pathlib import Path

from forge import run_of, use

REFUSED = "not a regular file"


def make(folder: Path) -> None:
    path = run_of(folder)
    path.unlink()
    path.mkdir()


def read(folder: Path) -> None:
    use(folder / "run")
