"""An HDF5 file whose W has one chunk of a gigabyte, which is unpacked whole to read one number."""

from pathlib import Path

import h5py
from stranger import converted, hdf5_file

REFUSED = "chunks of"


def make(folder: Path) -> None:
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((5, 50 << 20))
    creation.set_deflate(1)
    space = h5py.h5s.create_simple((5, 50 << 20))
    with hdf5_file(folder) as file:
        weights = h5py.h5d.create(file.id, b"W", h5py.h5t.NATIVE_FLOAT, space, creation)
        weights.write_direct_chunk((0, 0), bytes(11 << 20))  # so large that the ratio is plausible


def read(folder: Path) -> None:
    converted(folder / "run.h5")
