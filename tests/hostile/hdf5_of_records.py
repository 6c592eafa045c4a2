"""An HDF5 file of 300 fields with fields in each."""

from pathlib import Path

from stranger import converted, hdf5_file

REFUSED = "records"


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        file.create_dataset("W", (5,), [(f"f{number}", [("a", "f4"), ("b", "f8")]) for number in range(300)])


def read(folder: Path) -> None:
    converted(folder / "run.h5")
