"""Absent: names of checkpoints behind which no file is, such as links to storage that is not mounted."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from devi.errors import DeviError, counted, quoted, shown


def check_there(paths: Iterable[Path]) -> None:
    """Raise DeviError that names the first path behind which neither a file nor a folder is, and how many there are."""
    absent = [(path, why) for path in paths if (why := _why_absent(path)) is not None]
    if not absent:
        return
    path, why = absent[0]
    more = f", and so {'is' if len(absent) == 2 else 'are'} {len(absent) - 1} more" if len(absent) > 1 else ""
    raise DeviError(
        f"{shown(path, 300)} is {why}{more}: by {'their names' if more else 'its name'} the run would have"
        f" {counted(len(absent), 'checkpoint')} less without a word. Expected files that can be read: get them"
        f" (git annex get, mount the storage), or leave out what is gone: rm {quoted(path)}"
    )


def is_absent(path: Path) -> bool:
    """Whether nothing that could be read bears this name, though the name is there."""
    return os.path.lexists(path) and _why_absent(path) is not None


def _why_absent(path: Path) -> str | None:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if not path.is_symlink():
            return f"not to be looked at ({error.strerror})"
        to = f"a link to {shown(os.readlink(path), 300)}"
        if error.errno == errno.ELOOP:
            return f"{to}, which leads in a circle"
        return f"{to}, which is not there" if error.errno == errno.ENOENT else f"{to} ({error.strerror})"
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return "a pipe, a socket or a device, and no file"
