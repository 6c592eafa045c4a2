"""Results of finished blocks, kept on disk, so that a killed analysis goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xarray as xr
import xxhash

import devi
from devi.checkpoints.provenance import data_hash
from devi.checkpoints.reader import Run
from devi.checkpoints.userblock import replacing
from devi.metrics.metric import Metric
from devi.plugins import source_digest
from devi.task import Split, Task, setting_names, settings_of

SPLITS: tuple[Split, ...] = ("train", "test")
SUM = 16  # bytes
MOST_UNUSED = 1 << 30  # bytes: thousands of blocks of small models; with every example's loss kept, some analyses


class Cache:
    """One file per metric and block, named by a digest of everything the result depends on.

    That is: the metric's resolved settings, what else it holds, its source, devi's version, the same of the task with
    its data, and the digests of the block's checkpoints and of the one before them. A changed setting changes only the
    names of its own metric's files.

    Kept are all files that the last analysis used, and of the others those used last, up to MOST_UNUSED bytes: whoever
    goes back to former settings finds their results.
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

    def load(self, path: Path) -> xr.Dataset | None:
        """None where there is no result, or a damaged one: it is computed anew."""
        try:
            if not path.is_file() or not _is_whole(path):
                return None
            with xr.open_dataset(path, engine="h5netcdf") as stored:
                return stored.load()
        except (OSError, ValueError, KeyError, RuntimeError):
            return None

    def save(self, path: Path, result: xr.Dataset) -> None:
        with replacing(path) as temporary:  # whole or not at all: a killed analysis leaves no half result
            result.to_netcdf(temporary, engine="h5netcdf")
            with open(temporary, "r+b") as file:
                file.write(_sum_of(file))  # behind the end that HDF5 knows of, at which it has come by reading all

    def load_settings(self, path: Path) -> dict[str, Any] | None:
        """None where there are none that can be read: they are decided anew."""
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def save_settings(self, path: Path, settings: dict[str, Any]) -> None:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(settings))  # in their order: it may decide which of two pilots is nearest

    def clear(self) -> None:
        """Delete the temporary files that killed analyses left."""
        for path in self.directory.glob("*.tmp"):
            writer = path.suffixes[-2:-1] or [""]
            if not _is_running(writer[0].removeprefix(".")):
                path.unlink(missing_ok=True)

    def prune(self) -> None:
        """Delete of what this analysis did not use the oldest, as far as it is more than MOST_UNUSED bytes."""
        found = [(path, path.lstat()) for path in self.directory.iterdir()]
        unused = [
            (path, stat) for path, stat in found if path.suffix in (".nc", ".json") and path.name not in self.used
        ]
        room = MOST_UNUSED
        for path, stat in sorted(unused, key=lambda each: each[1].st_mtime, reverse=True):
            room -= stat.st_size
            if room < 0:
                path.unlink(missing_ok=True)

    def _task(self, task: Task) -> str:
        """Settings, source and data: what a file that the task reads holds today counts, not only its name."""
        if id(task) not in self._data:
            self._data[id(task)] = _identity(task) + "".join(data_hash(task, split) or "" for split in SPLITS)
        return self._data[id(task)]

    def _place(self, name: str) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.used.add(name)
        path = self.directory / name
        with suppress(OSError):  # not there yet, or a stranger's that may only be read
            os.utime(path, follow_symlinks=False)  # `prune` sees when it was used last
        return path


def _sum_of(file: BinaryIO, size: int | None = None) -> bytes:
    """Of what stands from here on, of so many bytes."""
    whole, left = xxhash.xxh3_128(), sys.maxsize if size is None else size
    while part := file.read(min(left, 1 << 20)):
        whole.update(part)
        left -= len(part)
    return whole.digest()


def _is_whole(path: Path) -> bool:
    """Whether it ends with the sum of what stands before, which HDF5 itself keeps of no value."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size - SUM
        return size > 0 and _sum_of(file, size) == file.read()


def _is_running(process: str) -> bool:
    """Whether a process of that number runs on this machine."""
    try:
        os.kill(int(process), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _identity(thing: object) -> str:
    cls = type(thing)
    about = [devi.__version__, cls.__module__, cls.__qualname__, source_digest(cls), settings_of(thing), _kept(thing)]
    return json.dumps(about, sort_keys=True)


def _kept(thing: object) -> dict[str, str]:
    """What an object holds beside its settings, as an __init__ of its own may have set: name -> digest of its value."""
    fields = set(setting_names(type(thing)).values())
    return {name: _digest(_pickled(value)) for name, value in vars(thing).items() if name not in fields}


def _pickled(value: object) -> bytes:
    written = io.BytesIO()
    try:
        _Pickler(written).dump(value)
    except Exception:  # of what cannot be written down, whatever its __reduce__ raises, only the kind is known
        return f"{type(value).__module__}.{type(value).__qualname__}".encode()
    return written.getvalue()


class _Pickler(pickle.Pickler):
    """The same bytes for equal tensors, which torch does not promise."""

    def reducer_override(self, value: Any) -> Any:
        import torch

        if not isinstance(value, torch.Tensor):
            return NotImplemented
        entries = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return tuple, ((str(value.dtype), *value.shape, entries),)


def _digest(*parts: str | bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(len(data).to_bytes(8, "little") + data)
    return whole.hexdigest()[:24]
