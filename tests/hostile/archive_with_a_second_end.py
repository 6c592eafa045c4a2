"""A .pt file with a second list of contents in a comment at its end: which list is found depends on the reader."""

import zipfile
from pathlib import Path

from stranger import STATE, converted, description_of, torch_file

REFUSED = "where it should be"


def make(folder: Path) -> None:
    torch_file(folder / "other.zip", description_of({}))
    torch_file(folder / "step_1.pt", description_of(dict.fromkeys(STATE)))
    with zipfile.ZipFile(folder / "step_1.pt", "a") as archive:
        archive.comment = (folder / "other.zip").read_bytes()


def read(folder: Path) -> None:
    converted(folder)
