"""An HDF5 file whose W is packed with a filter that would have to be loaded as a plug-in."""

from pathlib import Path

import h5py
from stranger import converted, hdf5_file

REFUSED = "filter 32000"


def make(folder: Path) -> None:
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((5, 2, 6))
    creation.set_filter(32000, h5py.h5z.FLAG_OPTIONAL)
    with hdf5_file(folder) as file:
        h5py.h5d.create(file.id, b"W", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((5, 2, 6)), creation)


def read(folder: Path) -> None:
    converted(folder / "run.h5")
