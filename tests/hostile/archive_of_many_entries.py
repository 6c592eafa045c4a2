"""A .pt file with 60,000 empty entries: a list of contents that takes more memory than the file."""

import zipfile
from pathlib import Path

from stranger import converted

REFUSED = "entries"


def make(folder: Path) -> None:
    with zipfile.ZipFile(folder / "step_1.pt", "w") as archive:
        for number in range(60_000):
            archive.writestr(f"archive/{number}", b"")


def read(folder: Path) -> None:
    converted(folder)
