"""A folder with one file a checkpoint: .pt, .pth, .bin and .ckpt of torch, or .safetensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from devi.checkpoints.foreign.absent import check_there
from devi.checkpoints.foreign.safetensors_file import read_safetensors
from devi.checkpoints.foreign.source import Content, Place, Source
from devi.checkpoints.foreign.steps import (
    epochs_by_name,
    left_out,
    no_step,
    steps_by_name,
    steps_by_pattern,
    steps_said,
)
from devi.checkpoints.foreign.torch_file import read_torch
from devi.errors import counted, shown

READERS: dict[str, Callable[[Path], Content]] = {
    ".pt": read_torch,
    ".pth": read_torch,
    ".bin": read_torch,
    ".ckpt": read_torch,
    ".safetensors": read_safetensors,
}


class Folder(Source):
    """Files of one kind. The step stands after that word in the name, else in the file, else it is a number there."""

    kind = "files"

    def __init__(self, path: Path, files: list[Path], pattern: str | None = None) -> None:
        self._reader = READERS[files[0].suffix.lower()]
        self._is_by_pattern = pattern is not None
        self._otherwise: dict[Place, int] = {}  # what files say that are of another step by their names
        places, notices = self._placed(files, pattern)
        super().__init__(path, places, notices)

    def read(self, place: Place) -> dict[str, Tensor]:
        content = self._reader(place.path)
        if not self._is_by_pattern and content.step is not None and content.step != place.step:
            self._otherwise[place] = content.step
        return content.tensors

    def seen(self) -> list[str]:
        if not self._otherwise:
            return []
        place, step = next(iter(self._otherwise.items()))
        return [
            f"{counted(len(self._otherwise), 'file')} of {len(self.places)} say another step within than by name:"
            f" {shown(place.path.name)} is taken for step {place.step} and says {step}. To go by what files say, take"
            " the steps out of their names."
        ]

    def _placed(self, files: list[Path], pattern: str | None) -> tuple[list[Place], list[str]]:
        names = [file.name for file in files]
        if pattern is not None:
            by_pattern = list(zip(files, steps_by_pattern(names, pattern), strict=True))
            places = [Place(step, file) for file, step in by_pattern if step is not None]
            check_there(place.path for place in places)
            return places, left_out([file.name for file, step in by_pattern if step is None], "file")
        check_there(files)
        stems = [file.stem for file in files]
        said = steps_said(stems)
        steps = [self._reader(file).step if step is None else step for file, step in zip(files, said, strict=True)]
        if steps == said:  # only if no file says it: a number in a name can be a loss or an accuracy
            steps = steps_by_name(stems)
        notices = []
        if all(step is None for step in steps):
            steps = epochs_by_name(names)
            notices = ["the files say which epoch they are of and no step: epochs are taken for steps."]
        for name, step in zip(names, steps, strict=True):
            if step is None:
                raise no_step(name, names)
        return [Place(step, file) for file, step in zip(files, steps, strict=True) if step is not None], notices
