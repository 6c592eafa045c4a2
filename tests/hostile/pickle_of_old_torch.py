"""A .pt file in the format of torch before 1.6, several pickles in a row of which the last runs a command."""

import os
from pathlib import Path

import torch
from stranger import STATE, Call, converted

REFUSED = "before 1.6"


def make(folder: Path) -> None:
    content = {**STATE, "more": Call(os.system, f"touch {folder}/harmed")}
    torch.save(content, folder / "step_1.pt", _use_new_zipfile_serialization=False)


def read(folder: Path) -> None:
    converted(folder)
