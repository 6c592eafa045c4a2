"""A signed description nested 100,000 deep: a recursive parser would run out of stack."""

from pathlib import Path

from forge import run_of, use, with_block

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    with_block(run_of(folder), b"[" * 100_000 + b"]" * 100_000, keep_size=False)


def read(folder: Path) -> None:
    use(folder / "run")
