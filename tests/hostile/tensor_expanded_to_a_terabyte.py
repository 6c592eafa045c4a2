"""A .pt file where W is one number that a stride of 0 stretches to a terabyte: a copy of it would fill memory."""

from pathlib import Path

import torch
from stranger import STATE, converted

REFUSED = "expects (2, 6)"


def make(folder: Path) -> None:
    torch.save({**STATE, "W": torch.zeros(1).expand(500_000, 500_000)}, folder / "step_1.pt")


def read(folder: Path) -> None:
    converted(folder)
