"""A .pt file whose dict is its own entry, so that a walk through nested dicts never ends."""

from pathlib import Path

import torch
from stranger import STATE, converted


def make(folder: Path) -> None:
    state = dict(STATE)
    state["more"] = state
    torch.save(state, folder / "step_1.pt")


def read(folder: Path) -> None:
    converted(folder)
