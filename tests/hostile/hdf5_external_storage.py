"""An HDF5 file whose W has its bytes in another file, here a password file."""

from pathlib import Path

import h5py
from stranger import converted, hdf5_file

REFUSED = "another file"


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        file.create_dataset("W", (5, 2, 6), "u1", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def read(folder: Path) -> None:
    converted(folder / "run.h5")
