"""A .pt file of pickle protocol 4, whose instruction STACK_GLOBAL names functions without GLOBAL."""

import os
import pickle
from pathlib import Path

from stranger import Call, converted, torch_file

REFUSED = "STACK_GLOBAL"


def make(folder: Path) -> None:
    torch_file(folder / "step_1.pt", pickle.dumps(Call(os.system, f"touch {folder}/harmed"), protocol=4))


def read(folder: Path) -> None:
    converted(folder)
