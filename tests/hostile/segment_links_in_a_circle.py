"""A segment that is a link to itself."""

from pathlib import Path

from forge import run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    path = run_of(folder)
    path.unlink()
    path.symlink_to(path)


def read(folder: Path) -> None:
    use(folder / "run")
