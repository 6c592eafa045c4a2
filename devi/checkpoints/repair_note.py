"""Repair note: what repair.json of a repaired run says was lost, so that the repair of that run says it too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from devi.checkpoints.header import Finding
from devi.checkpoints.userblock import BlockError, open_regular, read_all
from devi.checkpoints.verify import REPAIR_NOTE

MOST_BYTES = 16 << 20
_FIELDS = {"kind": str, "file": str, "record": int | None, "step": int | None, "reason": str}


class Before(NamedTuple):
    """What earlier repairs of a run lost: entries as in repair.json, and how many records its files then stated."""

    lost: list[dict[str, Any]]
    stated: int
    findings: list[Finding]  # what is wrong with the note itself


def lost_before(folder: Path, run_id: object) -> Before:
    """What the note in the folder lists; nothing if there is none, or if it is of another run."""
    try:
        note = json.loads(_content(folder / REPAIR_NOTE))
        if note["run_id"] != run_id:
            raise BlockError("it is of another run")
        lost, stated = [_entry(entry, str(note["source"])) for entry in note["lost"]], note["kept"]["stated"]
        if type(stated) is not int:
            raise TypeError
    except FileNotFoundError:
        return Before([], 0, [])
    except (BlockError, OSError) as error:
        return Before([], 0, [_unread(str(error))])
    except (ValueError, KeyError, TypeError, RecursionError):
        return Before([], 0, [_unread("it does not say what `devi repair` writes")])
    return Before(lost, stated, [])


def _entry(entry: dict[str, Any], source: str) -> dict[str, Any]:
    fields = {name: entry[name] for name in _FIELDS}
    if not all(isinstance(fields[name], kind) for name, kind in _FIELDS.items()):
        raise TypeError
    return {**fields, "source": str(entry.get("source", source))}  # the first repair of all says it once, for all


def _content(path: Path) -> bytes:
    descriptor = open_regular(path)  # it may be a stranger's: a pipe, without end
    try:
        size = os.fstat(descriptor).st_size
        if size > MOST_BYTES:
            raise BlockError(f"it has {size:,} bytes, more than {MOST_BYTES:,}")
        content = bytearray(size)
        return bytes(content[: read_all(descriptor, memoryview(content), 0)])
    finally:
        os.close(descriptor)


def _unread(why: str) -> Finding:
    return Finding("file", REPAIR_NOTE, None, None, f"{why}; what an earlier repair lost is not known from it")
