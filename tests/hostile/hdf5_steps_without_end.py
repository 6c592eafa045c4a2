"""An HDF5 file whose dataset of steps declares a thousand million and stores one."""

from pathlib import Path

import h5py
from stranger import converted

REFUSED = "declares"


def make(folder: Path) -> None:
    with h5py.File(folder / "run.h5", "w") as file:
        file.create_dataset("step", (10**9,), "i8", chunks=(1000,))[0] = 1
        file.create_dataset("W", (10**9, 1), "f4", chunks=(1000, 1))


def read(folder: Path) -> None:
    converted(folder / "run.h5")
