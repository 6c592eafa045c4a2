"""A .pt file of 40 dicts, each with the next one twice: a million million paths through 40 dicts."""

from pathlib import Path

import torch
from stranger import STATE, converted


def make(folder: Path) -> None:
    state: dict[str, object] = dict(STATE)
    for _ in range(40):
        state = {"a": state, "b": state}
    torch.save({**STATE, "more": state}, folder / "step_1.pt")


def read(folder: Path) -> None:
    converted(folder)
