"""An HDF5 file with an external link in the middle of the path to W, as a group."""

from pathlib import Path

import h5py
from stranger import converted, hdf5_file

REFUSED = "is a link"


def make(folder: Path) -> None:
    with h5py.File(folder / "private.h5", "w") as private:
        private["layer/W"] = [1.0]
    with hdf5_file(folder) as file:
        file["model"] = h5py.ExternalLink(str(folder / "private.h5"), "/layer")


def read(folder: Path) -> None:
    converted(folder / "run.h5")
