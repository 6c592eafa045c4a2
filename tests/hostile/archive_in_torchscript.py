"""A .pt file that is a TorchScript program, which has code to run."""

import warnings
from pathlib import Path

import torch
from stranger import converted


def make(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates what such files are made with
        program = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
        torch.jit.save(program, folder / "step_1.pt")


def read(folder: Path) -> None:
    converted(folder)
