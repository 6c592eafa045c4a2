"""An HDF5 file whose W has rows of varying length, each kept in a heap that can be crafted."""

from pathlib import Path

import h5py
from stranger import converted, hdf5_file

REFUSED = "varying length"


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        file.create_dataset("W", (5,), h5py.vlen_dtype("f4"))[0] = [1.0, 2.0]


def read(folder: Path) -> None:
    converted(folder / "run.h5")
