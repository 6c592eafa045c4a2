"""An HDF5 file of 20,000 groups: opening them all would take memory and time."""

from pathlib import Path

from stranger import converted, hdf5_file

REFUSED = "objects"


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        for number in range(20_000):
            file.create_group(str(number))


def read(folder: Path) -> None:
    converted(folder / "run.h5")
