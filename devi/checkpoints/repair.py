"""Repair: the intact records of a damaged run as a new run; the old one is only read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import devi
from devi.checkpoints.header import Finding, segment_name
from devi.checkpoints.lock import living_holder, unseen
from devi.checkpoints.record import digest_of
from devi.checkpoints.records import Records
from devi.checkpoints.repair_note import lost_before
from devi.checkpoints.segment import SEGMENT_BYTES
from devi.checkpoints.store import Store
from devi.checkpoints.userblock import replacing, sync_folder
from devi.checkpoints.verify import REPAIR_NOTE, checked_slots, misplaced, verify
from devi.errors import DeviError, counted, quoted

SCHEMA = "devi/repair/1"


def repair(folder: Path, out: Path, tell: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Copy every whole record, byte for byte but for its digest, and every intact resume slot to the directory `out`.

    It appears there complete or not at all. Returns the content of its repair.json. The run keeps its id: it can be
    resumed from an intact slot, and takes up its cached analysis. Raises DeviError if `out` is not free, if the run
    is being written, if segments only bear each other's names, or if nothing of it is whole.
    """
    writer = living_holder(folder)
    if writer is not None and not writer.is_here:
        raise DeviError(unseen(folder, writer))
    if writer is not None:
        raise DeviError(f"{folder} is being written by {writer}. Wait for it or stop it, then repair.")
    _check_free(folder, out)
    records = Records.open(folder, is_live=False)
    if records.misnamed:
        raise DeviError(_rename(folder, records.misnamed))
    slots, wrong = checked_slots(folder)
    wrong += misplaced(slots, records)
    place = out.resolve()
    partial = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        partial.mkdir(parents=True)
        _copy_records(records, partial, tell)
        if records.is_damaged.all():  # also if there is none
            reasons = " ".join(f"{finding}." for finding in records.findings[:10])
            raise DeviError(f"{folder}: no checkpoint in it is whole, so there is nothing to copy. {reasons}")
        run_id = records.layout_header.metadata.get("run_id")
        kept = [name for name, slot in slots.items() if slot.run_id == run_id]
        for name in kept:
            with replacing(partial / name) as temporary:
                shutil.copyfile(folder / name, temporary)
        document = _document(folder, records, records.findings + wrong, kept)
        with replacing(partial / REPAIR_NOTE) as temporary:
            temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        _check_clean(partial, records)
        os.rename(partial, place)  # takes the place of an empty directory, never of another
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_folder(place.parent)
    return document


def _rename(folder: Path, misnamed: dict[Path, int]) -> str:
    """What to type before a repair that would leave whole segments out."""
    owns = {path: path.with_name(segment_name(number)) for path, number in misnamed.items()}
    moves = [(path, f"{own}.own") for path, own in owns.items()] + [(f"{own}.own", own) for own in owns.values()]
    return (
        f"{folder}: {counted(len(misnamed), 'segment')} in it may be whole and would be lost, for nothing but a name."
        f" Give each its own back first: {' && '.join(f'mv -n {quoted(old)} {quoted(new)}' for old, new in moves)}"
    )


def _check_free(folder: Path, out: Path) -> None:
    run, place = folder.resolve(), out.resolve()
    if place.is_relative_to(run):
        raise DeviError(f"{out} lies in the run that is to be repaired, which is not touched. Give another --out.")
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise DeviError(
            f"{out} is not free, and nothing was written. Expected a new or empty directory: --out {quoted(f'{out}-2')}"
        )


def _copy_records(records: Records, place: Path, tell: Callable[[int, int], None] | None) -> None:
    """Append what is whole at the moment of copying; what is not joins the findings."""
    if not records.segments:
        return
    count = len(records.steps)
    store = Store(place, segment_bytes=SEGMENT_BYTES, expected=count)
    store.start(records.layout, records.layout_header.metadata)
    try:
        for row, step in enumerate(records.steps.tolist()):
            segment, index = records.segments[int(records.segment[row])], int(records.place[row])
            record = store.buffer.bytes
            segment.read_into(record, segment.header.data_offset + index * len(record))
            if digest_of(segment.header.salt, index, record) == records.digests[row].tobytes():
                store.append(step)
            else:
                records.set_damaged(row)
            if tell is not None:
                tell(row + 1, count)
    finally:
        store.close()


def _document(folder: Path, records: Records, findings: list[Finding], slots: list[str]) -> dict[str, Any]:
    """What repair.json says; `lost` names every record and file of which something could not be copied, now or in an
    earlier repair, and the run that it was in."""
    steps = records.steps[~records.is_damaged]
    run_id = records.layout_header.metadata.get("run_id")
    before = lost_before(folder, run_id)
    lost = [{**finding._asdict(), "source": str(folder)} for finding in findings + before.findings]
    # A resumed run may have recorded some of them again, and its files then state those.
    gone = {entry["step"] for entry in before.lost} - {None, *records.steps.tolist()}
    stated = max(records.stated + len(gone), before.stated)
    return {
        "schema": SCHEMA,
        "source": str(folder),
        "run_id": run_id,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "devi": devi.__version__,
        "kept": {"first": int(steps[0]), "last": int(steps[-1]), "count": len(steps), "stated": stated},
        "resume_slots": slots,
        "lost": before.lost + lost,
    }


def _check_clean(place: Path, records: Records) -> None:
    """Read the new run back before it may take its place."""
    verdict = verify(place)
    wrong = [finding for finding in verdict.damage if finding.file.startswith("segment-")]
    if wrong or verdict.steps != records.steps[~records.is_damaged].tolist():
        reasons = " ".join(f"{finding}." for finding in wrong[:3])
        raise DeviError(
            f"{place.parent}: the copy did not read back as it was written. {reasons} Is the disk in order?"
            " Give an --out on another one."
        )
