"""A signed description that says twice how many records there are: two readers could believe different ones."""

from pathlib import Path

from forge import described, run_of, use, with_block

from devi.checkpoints.userblock import json_bytes

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    path = run_of(folder)
    with_block(path, json_bytes(described(path)).replace(b'"records":5', b'"records":5,"records":3'), keep_size=False)


def read(folder: Path) -> None:
    use(folder / "run")
