"""Damage to files: where it falls, and the model whose checkpoints are damaged."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

import h5py
import torch
from torch import nn

DAMAGES = ("truncation", "bit flip anywhere", "bit flip in metadata")


class Fields(NamedTuple):
    """Where the records of a segment stand in its file, found with h5py and not with devi."""

    start: int
    size: int
    places: int

    @classmethod
    def of(cls, path: Path) -> Fields:
        with h5py.File(path) as file:
            dataset = file["checkpoints"]
            return cls(dataset.id.get_offset(), dataset.dtype.itemsize, len(dataset))

    @property
    def end(self) -> int:
        return self.start + self.size * self.places


class Damage(NamedTuple):
    """A file, what it then contains, and the span of bytes that changed or are gone."""

    path: Path
    content: bytes
    start: int
    end: int


def drawn(files: dict[Path, bytes], damage: str, fields: dict[Path, Fields], generator: random.Random) -> Damage:
    """One damage at random, each byte of each file as likely as any other."""
    path = generator.choices(list(files), [len(content) for content in files.values()])[0]
    content = files[path]
    place = generator.randrange(len(content))
    if damage == "truncation":
        return Damage(path, content[:place], place, len(content))
    if damage == "bit flip in metadata":
        around = fields[path]
        place = generator.randrange(around.start + len(content) - around.end)
        place += (around.end - around.start) * (place >= around.start)
    return Damage(path, flipped(content, place, generator.randrange(8)), place, place + 1)


def put(path: Path, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.write(content)
        file.truncate()


def flipped(content: bytes, at: int, bit: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


def model_of(step: int, model: nn.Module | None = None) -> nn.Module:
    """A model whose every number depends on the step."""
    model = model or nn.Sequential(nn.Linear(16, 20), nn.Linear(20, 8))
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model
