"""An HDF5 file that ends in the middle: its superblock promises more."""

from pathlib import Path

from stranger import converted, hdf5_file

REFUSED = "cannot be opened"


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        file["W"] = [[[1.0] * 6] * 2] * 5
    content = (folder / "run.h5").read_bytes()
    (folder / "run.h5").write_bytes(content[: len(content) // 2])


def read(folder: Path) -> None:
    converted(folder / "run.h5")
