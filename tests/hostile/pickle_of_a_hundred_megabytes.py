"""A .pt file whose one key is 100 MB of text: read, decoded and printed it would take many times that."""

import struct
from pathlib import Path

from stranger import converted, torch_file

REFUSED = "bytes"


def make(folder: Path) -> None:
    text = b"W" * 100_000_000
    torch_file(folder / "step_1.pt", b"\x80\x02}X" + struct.pack("<I", len(text)) + text + b"K\x01s.")


def read(folder: Path) -> None:
    converted(folder)
