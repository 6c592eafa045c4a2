"""A signed description of 512 MiB of JSON, in a sparse file: reading it would fill memory."""

import struct
from pathlib import Path

from forge import run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    path = run_of(folder)
    with open(path, "r+b") as file:
        file.truncate(1 << 30)
        file.write(b"\x89devi\r\n\x1a" + struct.pack("<II", 1, 1 << 29) + bytes(32))


def read(folder: Path) -> None:
    use(folder / "run")
