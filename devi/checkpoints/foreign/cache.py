"""Cache: foreign checkpoints converted once and analyzed often, below the user's own folder for such things.

    ~/.cache/devi/converted/<source and task>/<files' names, sizes, times>/<name of the source>

A changed file makes another conversion; the ones of the same source and task from before it are then deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import devi
from devi.checkpoints.foreign.absent import check_there, is_absent
from devi.checkpoints.foreign.convert import convert, damage_of
from devi.checkpoints.foreign.listing import foreign_in
from devi.checkpoints.header import segment_paths
from devi.checkpoints.lock import holder_of
from devi.checkpoints.records import Records
from devi.errors import counted
from devi.plugins import source_digest
from devi.task import Task, settings_of


def converted(
    source: Path,
    task: Task,
    *,
    name: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    notice: Callable[[str], None] | None = None,
) -> Path:
    """The run made of the checkpoints at `source`, converted now or before. Raises DeviError as `convert` does."""
    cls = type(task)
    asked = [devi.__version__, str(source.resolve()), cls.__module__, cls.__qualname__, settings_of(task)]
    home = cache_folder() / _digest([*asked, source_digest(cls)])
    place = home / _digest(_state_of(source)) / source.resolve().name
    if home.is_dir():
        for old in home.iterdir():
            if old != place.parent and not any(holder_of(run) for run in old.iterdir()):
                shutil.rmtree(old)
    tell = notice or (lambda text: None)
    damage = damage_of(Records.open(place, is_live=False)) if place.is_dir() and segment_paths(place) else None
    if damage is not None:
        tell(f"{place}: the conversion kept here is damaged ({damage}) and is made anew.")
        shutil.rmtree(place)
    done = convert(source, place, task, name=name, is_unchanged=True, progress=progress, notice=tell)
    how = "was converted before" if done.already == done.checkpoints else "is converted"
    tell(f"{source} {how}: {counted(done.checkpoints, 'checkpoint')}, kept in {place}")
    return place


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "devi" / "converted"


def source_id(source: Path) -> str:
    """Which source a report is on, whatever is added to it later."""
    return _digest([str(source.resolve())])


def _state_of(source: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of every file that a conversion could read.

    Raises DeviError where none is behind a name, before an earlier conversion is deleted for that.
    """
    folders, files = ([], [source]) if source.is_file() else foreign_in(source)
    check_there(folders or files)
    files = [*files, *(file for folder in folders for file in sorted(folder.iterdir()) if file.is_file())]
    found = [(file, file.stat()) for file in files if not is_absent(file)]  # what the Trainer left beside its folders
    return [(os.path.relpath(file, source), stat.st_size, stat.st_mtime_ns) for file, stat in found]


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
