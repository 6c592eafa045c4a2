"""An HDF5 file with the same step five times."""

from pathlib import Path

from stranger import converted, hdf5_file

REFUSED = "both of step 7"


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        file["W"] = [[[1.0] * 6] * 2] * 5
        file["step"][:] = 7


def read(folder: Path) -> None:
    converted(folder / "run.h5")
