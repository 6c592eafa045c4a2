"""An HDF5 file whose W holds references to objects."""

from pathlib import Path

import h5py
from stranger import converted, hdf5_file

REFUSED = "references"


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        file.create_dataset("W", (5,), h5py.ref_dtype)[0] = file["b"].ref


def read(folder: Path) -> None:
    converted(folder / "run.h5")
