"""A .pt file of 10,000 names that are all alike and none of them the model's: comparing all with all takes minutes."""

from pathlib import Path

import torch
from stranger import converted

REFUSED = "not in the file"


def make(folder: Path) -> None:
    zeros = torch.zeros(2, 6)
    torch.save({f"{'weight.' * 8}{number}": zeros for number in range(10_000)}, folder / "step_1.pt")


def read(folder: Path) -> None:
    converted(folder)
