"""An HDF5 file whose steps go to and fro between its packed chunks, each time another one to be unpacked."""

from pathlib import Path

import numpy as np
from stranger import converted, hdf5_file

REFUSED = "would be unpacked"


def make(folder: Path) -> None:
    rows = np.zeros((2000, 4000), "f4")
    rows[:, ::97] = np.random.default_rng(0).random((2000, 42))
    with hdf5_file(folder) as file:
        del file["step"], file["b"]
        file["step"] = np.arange(2000).reshape(2, 1000).T.ravel().argsort()
        file["W"], file["b"] = np.zeros((2000, 2, 6), "f4"), np.zeros((2000, 6), "f4")
        file.create_dataset("more", data=rows, chunks=(1000, 4000), compression="gzip")


def read(folder: Path) -> None:
    converted(folder / "run.h5")
