"""HDF5 files as devi makes them: the earliest format, arrays in one aligned piece that is never filled."""

from __future__ import annotations

import os
from pathlib import Path

import h5py


def create_hdf5(path: Path, user_block: int, metadata_bytes: int = 2048) -> h5py.h5f.FileID:
    """A new HDF5 file in the earliest format, which every version of the library reads.

    Its first `metadata_bytes` are for metadata; what does not fit there comes after the arrays.
    """
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    creation.set_userblock(user_block)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_EARLIEST, h5py.h5f.LIBVER_LATEST)
    access.set_alignment(16, 16)  # arrays start at multiples of 16 bytes: aligned views of a memory map
    access.set_meta_block_size(metadata_bytes)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    return h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_TRUNC, creation, access)


def contiguous() -> h5py.h5p.PropDCID:
    """Creation properties of a dataset whose bytes stand in one piece, allocated at once and never filled."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return creation
