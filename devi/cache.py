"""Results of finished blocks, kept on disk, so that a killed analysis goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import devi
from devi.checkpoints.provenance import data_hash
from devi.checkpoints.reader import Run
from devi.metrics.metric import Metric
from devi.plugins import source_digest
from devi.task import Split, Task, settings_of

SPLITS: tuple[Split, ...] = ("train", "test")


class Cache:
    """One file per metric and block, named by a digest of everything the result depends on.

    That is: the metric's resolved settings and source, devi's version, the task's settings, source and data, and the
    digests of the block's checkpoints and of the one before them. A changed setting changes only the names of its own
    metric's files.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.used: set[str] = set()
        self._data: dict[int, str] = {}

    def block(self, metric: Metric, block: Run) -> Path:
        before = block.whole.digests[block.start - 1] if block.start else np.zeros(16, np.uint8)
        key = _digest(
            _identity(metric), metric.digest(), self._task(block.task), block.digests.tobytes(), before.tobytes()
        )
        return self._place(f"{metric.label()}-{key}.nc")

    def resolution(self, metric: Metric, run: Run) -> Path:
        key = _digest(_identity(metric), metric.digest(), self._task(run.task), run.digests.tobytes())
        return self._place(f"{metric.label()}-{key}.json")

    def load(self, path: Path) -> xr.Dataset:
        with xr.open_dataset(path, engine="h5netcdf") as stored:
            return stored.load()

    def save(self, path: Path, result: xr.Dataset) -> None:
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        result.to_netcdf(temporary, engine="h5netcdf")
        os.replace(temporary, path)  # whole or not at all: a killed analysis leaves no half result

    def load_settings(self, path: Path) -> dict[str, Any] | None:
        """None where there are none that can be read: they are decided anew."""
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def save_settings(self, path: Path, settings: dict[str, Any]) -> None:
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(settings))  # in their order, which may decide: which of two pilots is nearest
        os.replace(temporary, path)

    def prune(self) -> None:
        """Delete what the last analysis did not use."""
        for path in self.directory.iterdir():
            if path.name not in self.used:
                path.unlink()

    def _task(self, task: Task) -> str:
        """Settings, source and data: what a file that the task reads holds today counts, not only its name."""
        if id(task) not in self._data:
            self._data[id(task)] = _identity(task) + "".join(data_hash(task, split) or "" for split in SPLITS)
        return self._data[id(task)]

    def _place(self, name: str) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.used.add(name)
        return self.directory / name


def _identity(thing: object) -> str:
    cls = type(thing)
    about = [devi.__version__, cls.__module__, cls.__qualname__, source_digest(cls), settings_of(thing)]
    return json.dumps(about, sort_keys=True)


def _digest(*parts: str | bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "little") + data)
    return whole.hexdigest()[:24]
