"""A .pt file whose tensors carry attributes detach, shape and numpy that are not what they seem."""

from pathlib import Path

import torch
from stranger import STATE, converted


def make(folder: Path) -> None:
    state = {name: tensor.clone() for name, tensor in STATE.items()}
    for tensor in state.values():
        tensor.detach = tensor.numpy = tensor.cpu = "not a method"
    torch.save(state, folder / "step_1.pt")


def read(folder: Path) -> None:
    converted(folder)
