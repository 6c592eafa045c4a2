"""Shared by the tests of damage: bits of a file turned over."""

from __future__ import annotations

from pathlib import Path

from devi.checkpoints.header import read_header


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def damage_record(path: Path, index: int) -> None:
    """Flip a bit of a weight of record `index` of the segment at `path`."""
    with open(path, "rb") as file:
        header, _ = read_header(file.fileno(), path.name)
    flip(path, header.data_offset + index * header.layout.dtype.itemsize + 17)
