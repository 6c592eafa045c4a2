"""Whereabouts: whether what a writer recorded is still where it wrote it; others may move or delete it meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

from devi.checkpoints.header import read_header, segment_name, segment_paths
from devi.checkpoints.scan import scan
from devi.checkpoints.userblock import BlockError, open_regular
from devi.errors import DeviError, counted


def what_is_gone(path: Path, last_step: int) -> str | None:
    """What is not there of a run that was recorded up to `last_step`, as a sentence; None if nothing is missing.

    Only the newest checkpoints are read: this is asked after an error, of runs of any size.
    """
    recorded = f"the checkpoints up to step {last_step}"
    try:
        if not path.is_dir():
            seen_from = "" if path.is_absolute() else f" (seen from {Path.cwd()})"
            return f"This directory is gone{seen_from}, and {recorded} with it: it was deleted or moved meanwhile."
        paths = segment_paths(path)
        missing = [number for number in range(max(paths, default=0) + 1) if number not in paths]
        if missing:
            first = segment_name(missing[0])
            and_more = f" and {counted(len(missing) - 1, 'more file')}" if len(missing) > 1 else ""
            return (
                f"{first}{and_more} of {recorded} {'are' if and_more else 'is'} gone: deleted meanwhile, or the"
                " directory is another one of this name."
            )
        last = next((step for number in reversed(paths) if (step := _last_step(paths[number])) is not None), None)
    except (OSError, BlockError) as error:
        return f"Whether {recorded} are safe cannot be seen: {getattr(error, 'strerror', None) or error}."
    if last is not None and last >= last_step:
        return None
    end = "hold none" if last is None else f"end at step {last}"
    return f"Not all of {recorded} are there: the files {end}. Are they a copy, or were they changed meanwhile?"


def check_is_here(folder: Path, run_id: str | None, named: Path) -> None:
    """Raise DeviError if another run stands in the folder of this one, whose files would be written over."""
    path = folder / segment_name(0)  # which every whole run has
    try:
        descriptor = open_regular(path)
        try:
            header, _ = read_header(descriptor, path.name)
        finally:
            os.close(descriptor)
    except (OSError, BlockError):
        return  # not there before the first record, or damaged: nothing says that it is another's
    if header.metadata.get("run_id") != run_id:
        raise DeviError(
            f"{named}: another run stands here now; this one was moved away or deleted meanwhile, with its checkpoints."
            " Nothing of the other was touched. To go on with this one: Recorder(its path now, ..., resume=True)."
        )


def _last_step(segment: Path) -> int | None:
    """The last step that is whole in a segment, None if no record is."""
    descriptor = open_regular(segment)
    try:
        header, _ = read_header(descriptor, segment.name)
        steps = scan(descriptor, header, segment.name, is_complete=False).steps
        return int(steps[-1]) if len(steps) else None
    finally:
        os.close(descriptor)
