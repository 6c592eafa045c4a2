"""A signed description with half of a surrogate pair in a name: printing it would raise an error."""

from pathlib import Path

from forge import described, run_of, use, with_block

from devi.checkpoints.userblock import json_bytes

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    path = run_of(folder)
    with_block(path, json_bytes(described(path)).replace(b'"superposition"', b'"\\ud800"'), keep_size=False)


def read(folder: Path) -> None:
    use(folder / "run")
