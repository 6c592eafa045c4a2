"""A lock file with process number -1, which as a target of a signal means every process."""

import json
import socket
from pathlib import Path

from forge import run_of, use


def make(folder: Path) -> None:
    run_of(folder)
    holder = {"pid": -1, "host": socket.gethostname(), "started": None, "since": "now"}
    (folder / "run" / "writer.lock").write_text(json.dumps(holder))


def read(folder: Path) -> None:
    use(folder / "run")
