"""A folder whose checkpoint files are a pipe, on which a reader waits for ever, and a device without end."""

import os
from pathlib import Path

from stranger import converted

REFUSED = "step_1.pt is a pipe, a socket or a device, and no file, and so are 2 more"


def make(folder: Path) -> None:
    os.mkfifo(folder / "step_1.pt")
    (folder / "step_2.pt").symlink_to("/dev/zero")
    (folder / "step_3.pt").symlink_to(folder / "step_3.pt")


def read(folder: Path) -> None:
    converted(folder)
