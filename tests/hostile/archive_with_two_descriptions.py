"""A .pt file with data.pkl and DATA.PKL: a reader that ignores case may load the one that was not looked at."""

import os
import zipfile
from pathlib import Path

from stranger import STATE, Call, converted, description_of, torch_file

REFUSED = "descriptions"


def make(folder: Path) -> None:
    torch_file(folder / "step_1.pt", description_of(dict.fromkeys(STATE)))
    with zipfile.ZipFile(folder / "step_1.pt", "a") as archive:
        archive.writestr("archive/DATA.PKL", description_of(Call(os.system, f"touch {folder}/harmed")))


def read(folder: Path) -> None:
    converted(folder)
