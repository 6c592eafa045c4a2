"""An HDF5 file with attributes of 60 kB at every object: they are not looked at."""

from pathlib import Path

from stranger import converted, hdf5_file


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        file["W"] = [[[1.0] * 6] * 2] * 5
        for name in ("/", "W", "b", "step"):
            file[name].attrs["large"] = "x" * 60_000


def read(folder: Path) -> None:
    converted(folder / "run.h5")
