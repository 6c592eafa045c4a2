"""The first segment copied as the second one: its checkpoints would come twice."""

import shutil
from pathlib import Path

from forge import run_of, use


def make(folder: Path) -> None:
    path = run_of(folder)
    shutil.copy(path, path.with_name("segment-000001.h5"))


def read(folder: Path) -> None:
    use(folder / "run")
