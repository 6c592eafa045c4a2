"""A lock file of 4,000 brackets: a recursive parser would run out of stack."""

from pathlib import Path

from forge import run_of, use


def make(folder: Path) -> None:
    run_of(folder)
    (folder / "run" / "writer.lock").write_text("[" * 4000)


def read(folder: Path) -> None:
    use(folder / "run")
