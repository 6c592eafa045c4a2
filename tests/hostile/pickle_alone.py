"""A bare pickle that is called .pt and runs a command."""

import os
import pickle
from pathlib import Path

from stranger import Call, converted

REFUSED = "no file of torch.save"


def make(folder: Path) -> None:
    (folder / "step_1.pt").write_bytes(pickle.dumps(Call(os.system, f"touch {folder}/harmed")))


def read(folder: Path) -> None:
    converted(folder)
