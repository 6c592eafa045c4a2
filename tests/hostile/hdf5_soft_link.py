"""A user's HDF5 file where W is a soft link that leads to itself."""

from pathlib import Path

import h5py
from stranger import converted, hdf5_file

REFUSED = "is a link"


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        file["W"] = h5py.SoftLink("/W")


def read(folder: Path) -> None:
    converted(folder / "run.h5")
