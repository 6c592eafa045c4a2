"""An HDF5 file whose W is text of varying length."""

from pathlib import Path

import h5py
from stranger import converted, hdf5_file

REFUSED = "text"


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        file.create_dataset("W", (5,), h5py.string_dtype())[0] = "<script>alert(1)</script>"


def read(folder: Path) -> None:
    converted(folder / "run.h5")
