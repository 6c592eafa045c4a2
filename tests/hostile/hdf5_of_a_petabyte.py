"""An HDF5 file that declares a petabyte and stores nothing: room for it would fill memory."""

from pathlib import Path

from stranger import converted, hdf5_file

REFUSED = "declares"


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        file.create_dataset("W", (5, 10**7, 10**7), "f2", chunks=(1, 1000, 1000))


def read(folder: Path) -> None:
    converted(folder / "run.h5")
