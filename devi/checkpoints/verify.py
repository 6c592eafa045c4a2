"""Verify: every byte of a run's files that devi would use, checked, and everything that is wrong named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from devi.checkpoints.header import Finding, segment_name, segment_paths
from devi.checkpoints.lock import Holder, living_holder
from devi.checkpoints.records import Records
from devi.checkpoints.slot_file import SLOTS, SlotFile, read_slot_file
from devi.checkpoints.userblock import BlockError

REPAIR_NOTE = "repair.json"  # in a repaired run: what was lost

Tell = Callable[[int, int], None]


class Verdict(NamedTuple):
    """What is whole in a run, and what is not."""

    folder: Path
    steps: list[int]  # of the checkpoints that are whole
    damage: list[Finding]
    torn: list[Finding]  # being written when the writer stopped, or now: no damage
    writer: Holder | None  # who writes the run now

    def to_json(self) -> dict[str, Any]:
        steps = self.steps
        return {
            "run": str(self.folder),
            "steps": {"first": steps[0] if steps else None, "last": steps[-1] if steps else None, "count": len(steps)},
            "damage": [finding._asdict() for finding in self.damage],
            "torn": [finding._asdict() for finding in self.torn],
            "is_damaged": bool(self.damage),
            "writer": None if self.writer is None else self.writer._asdict(),
        }


def verify(folder: Path, tell: Tell | None = None) -> Verdict:
    """Check every record, file and resume slot of the run; `tell` takes (done, all) records.

    Raises DeviError if the folder holds nothing of a run.
    """
    writer = living_holder(folder)
    slots, wrong = checked_slots(folder)  # before the records, which a writer always has ahead of its slots
    if (slots or wrong) and not segment_paths(folder):
        lost = Finding("file", segment_name(0), None, None, "the file is missing, with its checkpoints")
        return Verdict(folder, [], [lost, *wrong], [], writer)
    records = Records.open(folder, is_live=False)
    records.check(tell)
    steps = records.steps[~records.is_damaged].tolist()
    findings = records.findings + wrong + misplaced(slots, records)
    return Verdict(
        folder,
        steps,
        [finding for finding in findings if finding.kind != "torn"],
        [finding for finding in findings if finding.kind == "torn"],
        writer,
    )


def checked_slots(folder: Path) -> tuple[dict[str, SlotFile], list[Finding]]:
    """The resume slots whose every array has its SHA-256, by name, and what is wrong with the others."""
    slots, wrong = {}, []
    for name in SLOTS:
        try:
            slots[name] = read_slot_file(folder / name)._replace(arrays=[])
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (BlockError, OSError) as error:
            wrong.append(_about(name, f"{error}; the run cannot be resumed from it"))
    return slots, wrong


def misplaced(slots: dict[str, SlotFile], records: Records) -> list[Finding]:
    """The slots that do not belong to these records."""
    wrong = []
    for name, slot in slots.items():
        if records.segments and slot.run_id != records.layout_header.metadata.get("run_id"):
            wrong.append(_about(name, "it belongs to another run"))
        elif len(records.steps) and slot.recorded > records.steps[-1] and not (records.folder / REPAIR_NOTE).exists():
            lost = f"it builds on step {slot.recorded}; the checkpoints after step {records.steps[-1]} are lost"
            wrong.append(_about(name, lost))
    return wrong


def _about(name: str, reason: str) -> Finding:
    return Finding("file", name, None, None, reason)
