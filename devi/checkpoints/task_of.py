"""The task of a run: the built-in one that it names, or the user's class, with the settings that are stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devi.errors import DeviError, quoted, shown
from devi.plugins import builtin_task, name_of
from devi.task import Task, setting_names, with_settings


def task_of(path: Path, metadata: dict[str, Any], given: type[Task] | None) -> Task:
    """Raises DeviError if no class is given and the stored name is not built in: such a name is never imported."""
    cls = given or _named(path, metadata.get("task"))
    settings = metadata.get("settings") or {}
    if not isinstance(settings, dict):
        raise DeviError(
            f"{path}: its settings are {settings!r:.60}, expected names and values. See: devi show {quoted(path)}"
        )
    foreign = [key for key in settings if key not in setting_names(cls)]
    if foreign:
        made_with = shown(metadata.get("task"))
        is_other = made_with.rpartition(":")[2] not in (cls.__name__, name_of("task", cls))
        raise DeviError(
            f"{path} was made with {made_with}{f', not {cls.__name__}' if is_other else ''}: {cls.__name__} has no"
            f" setting {foreign[0]!r:.80}; a run is read with the task it was made with. See: devi show {quoted(path)}"
        )
    return with_settings(cls, settings, called=name_of("task", cls))


def how_to_resume(path: Path, metadata: Mapping[str, Any]) -> str:
    """What goes on with the run at `path`: devi train, devi convert, or the loop that recorded it."""
    task = metadata.get("task")
    if "converted" in metadata:
        return f"the same command, devi convert … --out {quoted(path)}"
    if isinstance(metadata.get("training"), dict) and isinstance(task, str):
        return f"devi train {quoted(shown(task, 200))} --out {quoted(path)} --resume"
    return f"in the loop that recorded it, Recorder({str(path)!r}, ..., resume=True)"


def _named(path: Path, name: Any) -> type[Task]:
    cls = builtin_task(name) if isinstance(name, str) else None
    if cls is None:
        named = "names no task" if name is None else f"names the task {name!r:.80}, which is not built in"
        raise DeviError(
            f"{path} {named}, and names stored in a run are never imported."
            " Say where it is: --task my_model.py:Name (in Python: open_run(path, task=Name))."
        )
    return cls
