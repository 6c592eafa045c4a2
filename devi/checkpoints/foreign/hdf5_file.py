"""A user's HDF5 file: one dataset a parameter with the step as first axis, or one group a step.

    steps (T,)   W (T, 2, 6)   b (T, 6)              a dataset 'step' or 'steps' beside the parameters
    step_0/W (2, 6)   step_0/b (6,)   step_100/W …   a number in each group's name, in the group or its attributes

'layers/0/weight' in the file is the parameter 'layers.0.weight'.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from devi.checkpoints.foreign.hdf5_groups import Datasets, axes, by_group, read_dataset, steps_of
from devi.checkpoints.foreign.hdf5_guard import Refused, open_guarded
from devi.checkpoints.foreign.hdf5_rows import Rows
from devi.checkpoints.foreign.source import MOST_STEP, Place, Source
from devi.checkpoints.foreign.steps import left_out, no_step, steps_by_pattern
from devi.errors import DeviError, shown

SUFFIXES = (".h5", ".hdf5", ".hdf")
MOST_STEPS = 1_000_000
MOST_PARAMETERS = 2_000
MOST_BLOCK_BYTES = 32 << 20  # of rows that were unpacked together and wait for their turn


class HDF5File(Source):
    """One file with all checkpoints."""

    kind = "HDF5"

    def __init__(self, path: Path, pattern: str | None = None) -> None:
        self._file, found = open_guarded(path)
        axis = axes(found)
        notices: list[str] = []
        if axis and pattern is None:
            nearest = min(axis, key=lambda name: name.count("/"))
            steps = _steps(path, nearest, found[nearest])
            chosen = _with_steps(path, found, len(steps), nearest, notices)
            self._groups: dict[str, dict[str, h5py.h5d.DatasetID]] = {}
            places = [Place(step, path, row) for row, step in enumerate(steps)]
        else:
            chosen, (above, self._groups) = {}, by_group(found)
            names = list(self._groups)
            try:
                numbers = steps_by_pattern(names, pattern) if pattern else steps_of(self._file, above, self._groups)
            except (OSError, RuntimeError, ValueError) as error:
                raise _damaged(path, error) from None
            unknown = [name for name, step in zip(names, numbers, strict=True) if step is None]
            if len(unknown) == len(names):
                raise _no_layout(path, found)
            if unknown and pattern is None:
                raise no_step(unknown[0], names, where="a whole number 'step' in the group or its attributes")
            notices += left_out(unknown, "group")
            places = [Place(step, path, name) for name, step in zip(names, numbers, strict=True) if step is not None]
        super().__init__(path, places, notices)
        self._rows = _rows(path, chosen, [place.part for place in self.places if isinstance(place.part, int)])

    def read(self, place: Place) -> dict[str, Tensor]:
        try:
            if isinstance(place.part, int):
                row = place.part
                return {name: torch.from_numpy(rows[row]) for name, rows in self._rows.items()}
            return {
                name: torch.from_numpy(read_dataset(dataset)) for name, dataset in self._groups[str(place.part)].items()
            }
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise _damaged(place, error) from None


def _damaged(place: object, error: Exception) -> DeviError:
    return DeviError(f"{place}: cannot be read: {shown(error, 300)}. The file is damaged: copy it again.")


def _steps(path: Path, name: str, dataset: h5py.h5d.DatasetID) -> list[int]:
    if dataset.shape[0] > MOST_STEPS:
        raise DeviError(
            f"{shown(path, 300)}: '{shown(name)}' has {dataset.shape[0]:,} steps; at most {MOST_STEPS:,} are read."
            " Keep fewer checkpoints in one file."
        )
    values = read_dataset(dataset)
    whole = values.astype(np.int64) if np.isfinite(values).all() and (np.abs(values) <= MOST_STEP / 2).all() else None
    if whole is None or (whole != values).any() or (whole < 0).any():
        raise DeviError(
            f"{shown(path, 300)}: '{shown(name)}' holds values that are no steps; expected whole numbers from 0 on, one"
            " a checkpoint. Write them so: file['step'] = np.array(steps, dtype='int64')"
        )
    return whole.tolist()


def _with_steps(
    path: Path, found: Datasets, count: int, steps: str, notices: list[str]
) -> dict[str, h5py.h5d.DatasetID]:
    """The datasets whose first axis is the step."""
    others = {name: dataset for name, dataset in found.items() if name != steps}
    rows = {name.replace("/", "."): dataset for name, dataset in others.items() if dataset.shape[:1] == (count,)}
    left = [f"{shown(name)} {dataset.shape}" for name, dataset in others.items() if dataset.shape[:1] != (count,)]
    if not rows:
        raise DeviError(
            f"{shown(path, 300)}: '{shown(steps)}' has {count} steps, and no dataset has a first axis of that length:"
            f" {', '.join(left[:8]) or 'there is no other'}. Expected (step, *shape of the parameter)."
        )
    if len(rows) > MOST_PARAMETERS:
        raise DeviError(
            f"{shown(path, 300)} has {len(rows):,} datasets with a first axis of {count} steps; a run holds about 1,000"
            " parameters. Put those of one part of the model into a file."
        )
    if left:
        notices.append(f"without a first axis of {count} steps, and left out: {', '.join(left[:5])}.")
    return rows


def _rows(path: Path, chosen: Datasets, order: list[int]) -> dict[str, Rows]:
    rows = {}
    for name, dataset in chosen.items():
        try:
            rows[name] = Rows(dataset, order, MOST_BLOCK_BYTES // len(chosen))
        except Refused as error:
            raise DeviError(f"{shown(path, 300)}: '{shown(name)}': {error}") from None
    return rows


def _no_layout(path: Path, found: Datasets) -> DeviError:
    some = ", ".join(f"{shown(name)} {dataset.shape}" for name, dataset in list(found.items())[:8])
    return DeviError(
        f"{shown(path, 300)}: which step each checkpoint is of cannot be told. It has: {some or 'no dataset'}. Expected"
        " a dataset 'step' (T,) beside parameters (T, *shape), or one group a step with the number in its name,"
        " 'step_100'. For groups with other names: --step-pattern 'name(\\d+)'"
    )
