"""A user's HDF5 file where W is a link to another file of the user's."""

from pathlib import Path

import h5py
from stranger import converted, hdf5_file

REFUSED = "is a link"


def make(folder: Path) -> None:
    with h5py.File(folder / "private.h5", "w") as private:
        private["secret"] = [1.0]
    with hdf5_file(folder) as file:
        file["W"] = h5py.ExternalLink(str(folder / "private.h5"), "/secret")


def read(folder: Path) -> None:
    converted(folder / "run.h5")
