"""Named pipes in the place of both resume slots: opening one waits for ever."""

import os
from pathlib import Path

from forge import resumed, slot_of

REFUSED = "is damaged and was not used"


def make(folder: Path) -> None:
    path = slot_of(folder)
    path.unlink()
    os.mkfifo(path)


def read(folder: Path) -> None:
    resumed(folder / "run")
