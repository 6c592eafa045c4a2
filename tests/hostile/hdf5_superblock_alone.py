"""An HDF5 signature followed by 10 kB of 0xFF, where every address is undefined."""

from pathlib import Path

from stranger import converted

REFUSED = "cannot be opened"


def make(folder: Path) -> None:
    (folder / "run.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\xff" * 10_000)


def read(folder: Path) -> None:
    converted(folder / "run.h5")
