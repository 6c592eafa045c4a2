"""A link to a private file that is no segment: nothing of its content may be shown."""

from pathlib import Path

from forge import run_of, use

REFUSED = "the magic bytes are wrong"


def make(folder: Path) -> None:
    path = run_of(folder)
    path.unlink()
    (folder / "private").write_text("the secret password\n" * 100)
    path.symlink_to(folder / "private")


def read(folder: Path) -> None:
    use(folder / "run")
