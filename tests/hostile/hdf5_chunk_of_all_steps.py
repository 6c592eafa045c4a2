"""An HDF5 file of 0.8 MB: all 300 steps in one packed chunk of 46 MiB, to be unpacked for each."""

from pathlib import Path

import numpy as np
from stranger import converted, hdf5_file

REFUSED = "would be unpacked"


def make(folder: Path) -> None:
    rows = np.zeros((300, 40_000), "f4")
    rows[:, ::97] = np.random.default_rng(0).random((300, 413))
    with hdf5_file(folder) as file:
        del file["step"], file["b"]
        file["step"] = np.arange(300)
        file["W"], file["b"] = np.zeros((300, 2, 6), "f4"), np.zeros((300, 6), "f4")
        file.create_dataset("more", data=rows, chunks=rows.shape, compression="gzip")


def read(folder: Path) -> None:
    converted(folder / "run.h5")
