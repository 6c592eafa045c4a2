"""An HDF5 file whose W holds opaque bytes with a tag that says they are a Python object."""

from pathlib import Path

import h5py
from stranger import converted, hdf5_file

REFUSED = "opaque"


def make(folder: Path) -> None:
    kind = h5py.h5t.create(h5py.h5t.OPAQUE, 64)
    kind.set_tag(b"PICKLE:object")
    with hdf5_file(folder) as file:
        h5py.h5d.create(file.id, b"W", kind, h5py.h5s.create_simple((5,)))


def read(folder: Path) -> None:
    converted(folder / "run.h5")
