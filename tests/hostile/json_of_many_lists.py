"""A signed description of 8 MiB that holds millions of empty lists: parsed, it would take 60 times its size."""

from pathlib import Path

from forge import run_of, use, with_block

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    with_block(run_of(folder), b"[" + b"[]," * 2_700_000 + b"[]]", keep_size=False)


def read(folder: Path) -> None:
    use(folder / "run")
