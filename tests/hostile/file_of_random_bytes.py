"""A segment of random bytes, and one of magic bytes and then random ones."""

import random
from pathlib import Path

from forge import run_of, use

REFUSED = "no checkpoint in it is whole"


def make(folder: Path) -> None:
    path = run_of(folder)
    path.write_bytes(random.Random(0).randbytes(100_000))
    path.with_name("segment-000001.h5").write_bytes(b"\x89devi\r\n\x1a" + random.Random(1).randbytes(100_000))


def read(folder: Path) -> None:
    use(folder / "run")
