"""A .pt file whose pickle calls os.system while it is loaded: a plain pickle reader would run the command."""

import os
from pathlib import Path

import torch

REFUSED = "posix.system"


class Reducer:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def make(folder: Path) -> None:
    torch.save({"W": torch.zeros(2, 6), "b": Reducer(f"touch {folder / 'harmed'}")}, folder / "step_1.pt")


def read(folder: Path) -> None:
    from devi.checkpoints.foreign.convert import convert
    from devi.tasks.superposition import Superposition

    convert(folder, folder.with_name("out"), Superposition())
