"""An HDF5 file of 2,000 groups, each in the one before."""

from pathlib import Path

from stranger import converted, hdf5_file

REFUSED = "nested"


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        group = file.create_group("g")
        for _ in range(2000):
            group = group.create_group("g")


def read(folder: Path) -> None:
    converted(folder / "run.h5")
