"""A sparse file whose one record claims nearly 2 GiB and has a digest: to read it whole would fill memory."""

import os
from pathlib import Path

from forge import described, run_of, with_block

from devi.checkpoints.layout import Layout, Stored
from devi.checkpoints.reader import open_run
from devi.checkpoints.userblock import json_bytes


def make(folder: Path) -> None:
    path = run_of(folder)
    about = described(path)
    layout = Layout((), (Stored("W", "float32", (2**29 - 64,), "W"),))
    about["records"], about["record"] = 1, layout.to_json()
    with_block(path, json_bytes(about))
    os.truncate(path, about["data_offset"] + layout.dtype.itemsize)
    with open(path, "r+b") as file:
        file.seek(-16, 2)
        file.write(b"digest of record")


def read(folder: Path) -> None:
    open_run(folder / "run")  # verify, which is asked to read everything, takes as long as 2 GiB take
