"""Records with right digests whose losses and weights are NaN, infinite and denormal."""

from pathlib import Path

import numpy as np
from forge import run_of, use, with_records


def make(folder: Path) -> None:
    with_records(run_of(folder), attack)


def attack(rows: np.ndarray) -> None:
    rows["train_loss"] = [np.nan, np.inf, -np.inf, 5e-324, -0.0]
    rows["W"].view("u4")[...] = 0x7F800001  # a signaling NaN


def read(folder: Path) -> None:
    use(folder / "run")
