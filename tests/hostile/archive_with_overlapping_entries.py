"""A .pt file whose list of contents names the same megabyte a thousand times: unpacked it is a gigabyte."""

import copy
import zipfile
from pathlib import Path

from stranger import converted

REFUSED = "overlap"


def make(folder: Path) -> None:
    with zipfile.ZipFile(folder / "step_1.pt", "w") as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
        for number in range(1000):
            entry = copy.copy(archive.filelist[0])
            entry.filename = f"archive/data/{number}"
            archive.filelist.append(entry)


def read(folder: Path) -> None:
    converted(folder)
