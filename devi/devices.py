"""Devices by name, checked at the door."""

from __future__ import annotations

import torch

from devi.errors import DeviError


def device_of(name: str | torch.device) -> torch.device:
    """The torch device of that name. Raises DeviError if it does not exist on this machine."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        here = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            here.append("mps")
        raise DeviError(
            f"device '{name}' is not here. This machine has: {', '.join(here)}. Try: --device cpu"
        ) from None
    if device.type == "meta":
        raise DeviError("device 'meta' holds no numbers. Try: --device cpu")
    return device
