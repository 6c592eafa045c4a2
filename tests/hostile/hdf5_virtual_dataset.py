"""An HDF5 file whose W is a virtual dataset that maps another file."""

from pathlib import Path

import h5py
from stranger import converted, hdf5_file

REFUSED = "virtual"


def make(folder: Path) -> None:
    with h5py.File(folder / "private.h5", "w") as private:
        private["secret"] = [[[1.0] * 6] * 2] * 5
    layout = h5py.VirtualLayout((5, 2, 6), "f8")
    layout[:] = h5py.VirtualSource(folder / "private.h5", "secret", (5, 2, 6))
    with hdf5_file(folder) as file:
        file.create_virtual_dataset("W", layout)


def read(folder: Path) -> None:
    converted(folder / "run.h5")
