"""A trailer that claims 2**63 bytes, and a damaged front block, so that the trailer is asked."""

import struct
from pathlib import Path

from forge import run_of, use

REFUSED = "longer than the file"


def make(folder: Path) -> None:
    path = run_of(folder)
    content = bytearray(path.read_bytes())
    content[:8] = bytes(8)
    content[-16:-8] = struct.pack("<Q", 2**63)
    path.write_bytes(content)


def read(folder: Path) -> None:
    use(folder / "run")
