"""A link to /dev/zero in the place of a segment: it never ends."""

from pathlib import Path

from forge import run_of, use

REFUSED = "not a regular file"


def make(folder: Path) -> None:
    path = run_of(folder)
    path.unlink()
    path.symlink_to("/dev/zero")


def read(folder: Path) -> None:
    use(folder / "run")
