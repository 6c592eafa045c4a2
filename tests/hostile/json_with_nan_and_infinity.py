"""A signed description with NaN and 1e999, which are no JSON, among its numbers."""

from pathlib import Path

from forge import described, run_of, use, with_block

from devi.checkpoints.userblock import json_bytes

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    path = run_of(folder)
    with_block(path, json_bytes(described(path)).replace(b'"seed":0', b'"seed":NaN,"z":1e999'))


def read(folder: Path) -> None:
    use(folder / "run")
