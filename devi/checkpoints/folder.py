"""Folder: whether a run may be written at a path, and the words for what the system refuses there."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NamedTuple

from devi.checkpoints.header import segment_name, segment_paths
from devi.checkpoints.lock import NAME as LOCK_NAME
from devi.checkpoints.slot_file import SLOTS, step_of
from devi.checkpoints.whereabouts import what_is_gone
from devi.errors import DeviError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def holds_run(path: Path) -> bool:
    """Whether there is a run, even one whose checkpoints are lost."""
    return path.is_dir() and (bool(segment_paths(path)) or any((path / slot).exists() for slot in SLOTS))


class Words(NamedTuple):
    """What to type to go on with a run, and for another place."""

    resume: str
    elsewhere: str


COMMAND = Words("--resume", "another --out")
CONVERSION = Words("the same command", "another --out")
PYTHON = Words("Recorder(path, ..., resume=True)", "another path")


def check_usable(path: Path, resume: bool, words: Words = COMMAND) -> None:
    """A path is used if it is free, or if it holds a run with a checkpoint and that is to be resumed."""
    if path.exists() and not path.is_dir():
        raise DeviError(f"{path} is a file; a run is a directory. Give {words.elsewhere}.")
    if not path.exists():
        return
    names = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")} - {LOCK_NAME}
    if holds_run(path):
        if not resume:
            raise DeviError(
                f"{path} already holds a run. To go on with it: {words.resume}. To keep it: give {words.elsewhere}."
            )
        if not segment_paths(path):  # a run that began there anew would write over them
            raise DeviError(f"{only_slots(path)} Nothing was touched. To begin anew: give {words.elsewhere}.")
    elif names:
        some = ", ".join(sorted(names)[:3])
        raise DeviError(f"{path} holds something that is no run ({some}). Nothing was touched; give {words.elsewhere}.")


def only_slots(path: Path) -> str:
    """What to say of a run of which nothing but resume slots is left."""
    slots, step = [slot for slot in SLOTS if (path / slot).exists()], step_of(path)
    hold = f"{' and '.join(slots)} {'still holds' if len(slots) == 1 else 'still hold'}"
    return (
        f"{path}: every checkpoint of this run is lost, with its files {segment_name(0)} and so on; {hold} the last"
        f" state{'' if step is None else f', of step {step}'}. To go on from it: put those files back."
    )


def refusal(path: Path, last_step: int | None, error: OSError, words: Words) -> DeviError:
    """The error that says what is safe, after a look; `last_step` is the last one recorded."""
    gone = None if last_step is None else what_is_gone(path, last_step)
    if gone is not None:
        why = "the disk is full" if error.errno in _FULL else "cannot write here"
        return DeviError(
            f"{path}: {why}. {gone} Put that right, then go on with {words.resume}; or give {words.elsewhere}."
        )
    safe = "Nothing was recorded now." if last_step is None else f"Every checkpoint up to step {last_step} is safe."
    if error.errno in _FULL:
        return DeviError(f"{path}: the disk is full. {safe} Free some space, then go on with {words.resume}.")
    name = Path(error.filename).name if isinstance(error.filename, str) and Path(error.filename) != path else ""
    expected = "a directory that you may write to:"
    if isinstance(error, IsADirectoryError):
        expected = "a file of that name, or none. Move it away, or"
    return DeviError(
        f"{path}: cannot write {name or 'here'}: {error.strerror or error}. {safe}"
        f" Expected {expected} give {words.elsewhere}."
    )
