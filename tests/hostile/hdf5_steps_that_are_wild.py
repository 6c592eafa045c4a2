"""An HDF5 file whose steps are NaN, infinite, negative and 1e300."""

from pathlib import Path

import h5py
from stranger import converted

REFUSED = "no steps"


def make(folder: Path) -> None:
    with h5py.File(folder / "run.h5", "w") as file:
        file["step"] = [float("nan"), float("inf"), -1.0, 1e300, 4.0]
        file["W"] = [[[1.0] * 6] * 2] * 5


def read(folder: Path) -> None:
    converted(folder / "run.h5")
