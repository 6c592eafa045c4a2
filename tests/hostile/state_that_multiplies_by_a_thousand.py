"""A .pt file of nine dicts, each with the next one under a thousand long names, a state at the end of each path."""

from pathlib import Path

import torch
from stranger import STATE, converted


def make(folder: Path) -> None:
    state: dict[str, object] = dict(STATE)
    for _ in range(8):
        state = {f"{number:0300}": state for number in range(1000)}
    torch.save({**STATE, "more": state}, folder / "step_1.pt")


def read(folder: Path) -> None:
    converted(folder)
