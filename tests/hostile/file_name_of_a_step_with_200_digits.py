"""A file name whose step has 200 digits."""

from pathlib import Path

import torch
from stranger import STATE, converted

REFUSED = "is no step"


def make(folder: Path) -> None:
    torch.save(STATE, folder / f"step_{'9' * 200}.pt")


def read(folder: Path) -> None:
    converted(folder)
