"""An HDF5 file where groups contain the groups that they are in, by hard links."""

from pathlib import Path

from stranger import converted, hdf5_file

REFUSED = "circle"


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        inner = file.create_group("outer/inner")
        inner["back"] = file["outer"]
        inner["root"] = file["/"]


def read(folder: Path) -> None:
    converted(folder / "run.h5")
