"""A .pt file whose description is 300 MB of zeros that deflate packs into one."""

import zipfile
from pathlib import Path

from stranger import converted

REFUSED = "compressed"


def make(folder: Path) -> None:
    piece = bytes(1 << 20)
    archive = zipfile.ZipFile(folder / "step_1.pt", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("archive/data.pkl", "w", force_zip64=True) as file:
        for _ in range(300):
            file.write(piece)


def read(folder: Path) -> None:
    converted(folder)
