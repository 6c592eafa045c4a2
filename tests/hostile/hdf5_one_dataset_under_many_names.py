"""An HDF5 file where 9,000 names lead to one dataset by hard links."""

from pathlib import Path

from stranger import converted, hdf5_file

REFUSED = "a run holds about 1,000 parameters"


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        file["W"] = [[[1.0] * 6] * 2] * 5
        for number in range(9000):
            file[f"W{number}"] = file["W"]


def read(folder: Path) -> None:
    converted(folder / "run.h5")
