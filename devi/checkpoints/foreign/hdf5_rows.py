"""Rows: those of a dataset one by one, of which HDF5 keeps many in one packed chunk, unpacked whole each time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import h5py
import numpy as np

from devi.checkpoints.foreign.hdf5_guard import MOST_RATIO, SPARE_BYTES, Refused


class Rows:
    """The rows of a dataset's first axis, read a block at a time: as many as are in a chunk, if `most_bytes` hold them.

    Raises Refused if, read in the order given, it would unpack more than an honest file makes needful.
    """

    def __init__(self, dataset: h5py.h5d.DatasetID, order: Sequence[int], most_bytes: int) -> None:
        self.shape = dataset.shape[1:]
        self._dataset, self._dtype = dataset, dataset.dtype.newbyteorder("=")
        self._block, self._start = np.empty((0, *self.shape), self._dtype), 0
        row_bytes = max(math.prod(self.shape) * self._dtype.itemsize, 1)
        creation = dataset.get_create_plist()
        is_packed = creation.get_layout() == h5py.h5d.CHUNKED and creation.get_nfilters() > 0
        chunk = creation.get_chunk() if is_packed else (1, *self.shape)
        self._count = max(1, min(chunk[0], most_bytes // row_bytes))
        if is_packed:
            blocks = [row // self._count for row in order]
            reads = bool(blocks) + sum(one != other for one, other in pairwise(blocks))
            whole = math.prod(-(-size // piece) * piece for size, piece in zip(self.shape, chunk[1:], strict=True))
            unpacked, stored = reads * chunk[0] * whole * self._dtype.itemsize, dataset.get_storage_size()
            if unpacked > MOST_RATIO * stored + SPARE_BYTES:
                raise Refused(
                    f"to read it, {unpacked:,} bytes would be unpacked, and it stores {stored:,}: {chunk[0]} steps are"
                    " in one chunk. Write it anew: file.create_dataset(name, data=array, chunks=(1, *array.shape[1:]))"
                )

    def __getitem__(self, row: int) -> np.ndarray:
        """(*shape), in the machine's byte order; it may share its memory with other rows."""
        if not 0 <= row - self._start < len(self._block):
            self._start = row - row % self._count
            count = min(self._count, self._dataset.shape[0] - self._start)
            self._block = np.empty((count, *self.shape), self._dtype)
            if self._block.size:
                space = self._dataset.get_space()
                space.select_hyperslab((self._start,) + (0,) * len(self.shape), self._block.shape)
                self._dataset.read(h5py.h5s.create_simple(self._block.shape), space, self._block)
        return self._block[row - self._start : row - self._start + 1].reshape(self.shape)
