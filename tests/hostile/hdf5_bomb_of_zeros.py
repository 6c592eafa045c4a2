"""An HDF5 file whose W is 300 MB, most of it zeros that deflate packs a thousandfold."""

from pathlib import Path

from stranger import converted, hdf5_file

REFUSED = "declares"


def make(folder: Path) -> None:
    with hdf5_file(folder) as file:
        weights = file.create_dataset("W", (5, 16 << 20), "f4", chunks=(1, 1 << 20), compression="gzip")
        for part in range(4):
            weights[0, part << 20 : (part + 1) << 20] = 0.0


def read(folder: Path) -> None:
    converted(folder / "run.h5")
