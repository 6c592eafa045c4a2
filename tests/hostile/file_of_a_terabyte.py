"""A sparse file of 2**40 bytes whose description claims 8192 records of 128 MiB: hashing them takes minutes."""

import os
from pathlib import Path

from forge import described, run_of, use, with_block

from devi.checkpoints.layout import Layout, Stored
from devi.checkpoints.userblock import json_bytes

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    path = run_of(folder)
    about = described(path)
    about["records"] = 8192
    about["record"] = Layout(("train_loss",), (Stored("W", "float32", (2**25,), "W"),)).to_json()
    with_block(path, json_bytes(about))
    os.truncate(path, 2**40)


def read(folder: Path) -> None:
    use(folder / "run")
