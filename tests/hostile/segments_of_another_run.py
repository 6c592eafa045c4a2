"""A second segment of another run, with other shapes, beside the first: stacked, they would not fit."""

import os
from pathlib import Path

from forge import changed, run_of, use

from devi.checkpoints.layout import Stored


def make(folder: Path) -> None:
    run_of(folder)
    other = run_of(folder / "other", tensors=(Stored("W", "float32", (3, 3), "W"),), steps=range(9))
    changed(other, lambda content: content.update(segment=1))
    os.rename(other, folder / "run" / "segment-000001.h5")


def read(folder: Path) -> None:
    use(folder / "run")
