"""A lock file of a foreign process on a host whose name is an escape sequence."""

import json
from pathlib import Path

from forge import ESCAPE, run_of, use

REFUSED = "holds this run"


def make(folder: Path) -> None:
    run_of(folder)
    holder = {"pid": 1, "host": ESCAPE, "started": None, "since": ESCAPE}
    (folder / "run" / "writer.lock").write_text(json.dumps(holder))


def read(folder: Path) -> None:
    use(folder / "run")
