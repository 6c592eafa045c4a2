"""Source: foreign checkpoints in order of their steps, read one at a time."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, NamedTuple

from torch import Tensor

from devi.checkpoints.foreign.patterns import telling_apart
from devi.errors import DeviError, quoted, shown

MOST_STEP = 2**63 - 1


class Place(NamedTuple):
    """Where one checkpoint is: a file or folder, and what of it, if it holds several."""

    step: int
    path: Path
    part: str | int | None = None

    def __str__(self) -> str:
        of = (
            "" if self.part is None else f", {shown(self.part)}" if isinstance(self.part, str) else f", row {self.part}"
        )
        return f"{shown(self.path, 300)}{of}"


class Content(NamedTuple):
    """What one file holds: tensors by name, and the step that it says it is of."""

    tensors: dict[str, Tensor]
    step: int | None = None


class Source(ABC):
    """Foreign checkpoints. Listing reads no tensor; `read` gives those of one checkpoint."""

    kind: ClassVar[str]

    def __init__(self, path: Path, places: Iterable[Place], notices: Iterable[str] = ()) -> None:
        self.path = path
        self.places = ordered(places)
        self.notices = list(notices)

    @abstractmethod
    def read(self, place: Place) -> dict[str, Tensor]:
        """The tensors of one checkpoint by name. Raises DeviError that names the file."""

    def seen(self) -> list[str]:
        """What the user should know of what was read so far."""
        return []


def ordered(places: Iterable[Place]) -> list[Place]:
    """By step, as numbers. Raises DeviError if two have the same."""
    found = sorted(places, key=lambda place: place.step)
    for one, other in itertools.pairwise(found):
        if one.step == other.step and isinstance(one.part, int):
            raise DeviError(
                f"{one} and row {other.part} are both of step {one.step}; a run has one checkpoint a step. Write each"
                " row's own step there."
            )
        if one.step == other.step:
            pair = [_named(each) for each in (one, other)]
            pattern = telling_apart(pair, one.step, [_named(each) for each in found])
            choose = f", or choose with a pattern, which takes what matches it: --step-pattern {quoted(pattern)}"
            raise DeviError(
                f"{one} and {other} are both of step {one.step}; a run has one checkpoint a step. Move one of them"
                f" away{choose if pattern else '.'}"
            )
    return found


def _named(place: Place) -> str:
    """The name that a pattern is for."""
    return place.path.name if place.part is None else str(place.part)


def as_step(value: object) -> int | None:
    """A step that a file states; None for anything but a whole number that can be one."""
    if isinstance(value, Tensor) and value.dim() == 0 and not value.is_floating_point() and not value.is_complex():
        value = value.item()
    return value if type(value) is int and 0 <= value <= MOST_STEP else None
