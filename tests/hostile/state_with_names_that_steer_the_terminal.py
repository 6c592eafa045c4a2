"""Names in a .pt file that set the terminal's title, clear it and hold HTML; they are told in a notice."""

from pathlib import Path

import torch
from stranger import STATE, converted

NAME = "\x1b]0;owned\x07\x1b[2J\u202e<script>alert(1)</script>"


def make(folder: Path) -> None:
    torch.save({**STATE, NAME: torch.zeros(1), NAME * 100_000: torch.zeros(1)}, folder / "step_1.pt")


def read(folder: Path) -> None:
    told = "".join(converted(folder))
    assert "x1b" in told  # as text
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert len(told) < 1000
