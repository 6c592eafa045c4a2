"""A .pt file where W is a sparse tensor whose indices are out of bounds."""

from pathlib import Path

import torch
from stranger import STATE, converted


def make(folder: Path) -> None:
    with torch.sparse.check_sparse_tensor_invariants(False):
        wild = torch.sparse_coo_tensor([[10**9], [3]], [1.0], (2, 6), check_invariants=False)
    torch.save({**STATE, "W": wild}, folder / "step_1.pt")


def read(folder: Path) -> None:
    converted(folder)
