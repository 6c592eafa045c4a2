"""A segment numbered 999999 beside the first: a million missing ones would be named."""

import os
from pathlib import Path

from forge import changed, run_of, use


def make(folder: Path) -> None:
    path = run_of(folder)
    other = run_of(folder / "other", steps=range(10, 15))
    changed(other, lambda content: content.update(segment=999_999))
    os.rename(other, path.with_name("segment-999999.h5"))


def read(folder: Path) -> None:
    use(folder / "run")
