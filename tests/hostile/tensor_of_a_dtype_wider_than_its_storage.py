"""A .pt file where W takes the 128 bytes of its storage for many more of another dtype: other memory would be read."""

from pathlib import Path

import torch
from stranger import Call, Storage, converted, description_of, tensor, torch_file


def make(folder: Path) -> None:
    wide = Call(torch._utils._rebuild_tensor_v3, Storage(), 30, (2, 6), (6, 1), False, {}, torch.complex128)
    torch_file(folder / "step_1.pt", description_of({"W": wide, "b": tensor(Storage(), 0, (6,), (1,))}))


def read(folder: Path) -> None:
    converted(folder)


REFUSED = "torch cannot load it"
