"""The step inside a .pt file is a number of 300 digits, and there is none in its name."""

from pathlib import Path

import torch
from stranger import STATE, converted

REFUSED = "which step"


def make(folder: Path) -> None:
    torch.save({**STATE, "step": 10**300}, folder / "final.pt")


def read(folder: Path) -> None:
    converted(folder)
