"""Runs with damaged bytes: what is noticed, what is still read: python benchmarks/corruption.py [--write]

Three states of one small run of several segments: closed; live (its writer is at work); killed (its writer is gone, the
last segment is half full). To each: truncations of a file, one flipped bit anywhere, one flipped bit in the metadata
(user block, HDF5 header, trailer). A child process then opens the run and reads all of it; on the live run the writer
commits one more record and the reader follows. Then the file is put right again.

unnoticed        no finding and no error, though a byte that is used has changed. A flip in a place where no record is
                 yet is harmless: it counts as such only if every committed checkpoint was read with its bits.
wrong values     a checkpoint was given out with other bits than were written
untouched read   checkpoints none of whose bytes were changed or cut off, and that were read
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from children import Board, answer_of, begin, ended, runs_bits
from damage import DAMAGES, Damage, Fields, drawn, model_of, put
from tables import put_table
from torch import nn

from devi import DeviError, Recorder, open_run

RECORDS = 56
SEGMENT_RECORDS = 16
STATES = ("closed", "live", "killed")


class Subject:
    """A run in one of the three states, with what is in it."""

    def __init__(self, folder: Path, state: str) -> None:
        self.folder, self.state, self.model = folder, state, model_of(0)
        options: dict[str, Any] = {"segment_bytes": SEGMENT_RECORDS * 4 * 500, "notice": lambda text: None}
        if state == "killed":
            board = Board()

            def write() -> None:
                record = Recorder(folder, state={}, **options)
                self._fill(record)
                os.kill(os.getpid(), signal.SIGKILL)

            assert ended(begin(board, write)) == -signal.SIGKILL, board.text
        else:
            self.record = Recorder(folder, state={}, **options)
            self._fill(self.record)
            if state == "closed":
                self.record.close()
        run = open_run(folder)
        assert run.is_live == (state == "live")
        assert (len(run), run.findings) == (RECORDS, [])
        self.bits = runs_bits(run)
        self.files = {path: path.read_bytes() for path in sorted(folder.glob("segment-*.h5"))}
        self.fields = {path: Fields.of(path) for path in self.files}
        firsts = [sum(fields.places for fields in list(self.fields.values())[:n]) for n in range(len(self.files))]
        self.first_step = dict(zip(self.files, firsts, strict=True))

    def _fill(self, record: Recorder) -> None:
        for step in range(RECORDS):
            record(step, model_of(step, self.model), loss=float(step))

    def follow(self) -> None:
        """What the writer does next."""
        self.record(RECORDS, model_of(RECORDS, self.model), loss=float(RECORDS))

    def touched(self, damage: Damage) -> set[int]:
        """The checkpoints that have bytes where the damage is."""
        fields, first = self.fields[damage.path], self.first_step[damage.path]
        ends = fields.start + fields.size * np.arange(1, fields.places + 1)
        touched = {first + int(i) for i in np.flatnonzero((ends > damage.start) & (ends - fields.size < damage.end))}
        return touched & set(self.bits)

    @contextmanager
    def damaged(self, damage: Damage) -> Iterator[None]:
        """The file with other bytes, in place: a live writer has it open."""
        put(damage.path, damage.content)
        try:
            yield
        finally:
            for each, whole in self.files.items():
                put(each, whole)


def read_devi(subject: Subject, ask: Callable[[], None]) -> dict[str, Any]:
    """The steps read with their bits, those with other bits, and how many findings there were.

    ask  has the writer of a live run go on
    """
    try:
        run = open_run(subject.folder)
        if subject.state == "live":
            ask()
            run.refresh()
            assert run.steps[-1] == RECORDS, "the record that followed was not read"
        bits = runs_bits(run)
    except DeviError as error:
        return {"right": [], "wrong": [], "findings": 1, "text": str(error)}
    bits.pop(RECORDS, None)
    right = [step for step, content in bits.items() if subject.bits.get(step) == content]
    return {"right": right, "wrong": sorted(set(bits) - set(right)), "findings": len(run.findings)}


def damaged_row(place: Path, state: str, damage: str, count: int) -> list[Any]:
    generator = random.Random(f"{state} {damage}")
    unnoticed = crashes = wrong = untouched = read = harmless = 0
    subject = Subject(place / f"{state} {damage}", state)
    for number in range(count):
        if state == "live" and number:  # its writer has gone on, with another file than was put back
            subject = Subject(place / f"{state} {damage} {number}", state)
        done = drawn(subject.files, damage, subject.fields, generator)
        with subject.damaged(done):
            board = Board()
            answer = answer_of(partial(read_devi, subject, board.ask), board, subject.follow)
        if answer is None:
            crashes += 1
            continue
        whole = set(subject.bits) - subject.touched(done)
        untouched, read = untouched + len(whole), read + len(whole & set(answer["right"]))
        wrong += len(answer["wrong"])
        if not answer["findings"]:
            fields = subject.fields[done.path]
            is_free = len(answer["right"]) == RECORDS and fields.start <= done.start < fields.end
            harmless += is_free
            unnoticed += not is_free
    return [state, damage, count, unnoticed, crashes, wrong, f"{100 * read / untouched:.2f}%", harmless]


def cut_everywhere(folder: Path, *, is_closed: bool) -> list[Any]:
    """One small segment cut at every byte: each must give every whole record before the cut."""

    def write() -> None:
        with Recorder(folder, segment_bytes=900, notice=lambda text: None) as record:
            for step in range(5):
                record(step, nn.Linear(5, 2), loss=0.5)
            if not is_closed:
                os.kill(os.getpid(), signal.SIGKILL)

    ended(begin(Board(), write))
    path = folder / "segment-000000.h5"
    content, fields, bits = path.read_bytes(), Fields.of(path), runs_bits(open_run(folder))
    assert len(bits) == 5
    unnoticed = wrong = read = wanted = 0
    for cut in range(len(content)):
        put(path, content[:cut])
        whole = min(5, max(0, (cut - fields.start) // fields.size))
        try:
            run = open_run(folder)
            found = runs_bits(run)
            unnoticed += not run.findings
        except DeviError:
            found = {}
        wrong += any(bits.get(step) != content for step, content in found.items())
        wanted, read = wanted + whole, read + len(set(found) & set(range(whole)))
    state = "closed" if is_closed else "killed"
    share = f"{100 * read / wanted:.2f}%"
    return [state, "cut at every byte", len(content), unnoticed, 0, wrong, share, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="damaged files of each kind")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []

    def add(row: list[Any]) -> None:
        rows.append(row)
        print(*row, sep=" | ", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        for state in STATES:
            for damage in DAMAGES:
                add(damaged_row(Path(scratch), state, damage, options.count))
        for is_closed in (True, False):
            add(cut_everywhere(Path(scratch) / f"cut-{is_closed}", is_closed=is_closed))
    is_clean = all(not any(row[3:6]) and float(row[6].rstrip("%")) >= 99 for row in rows)
    header = [
        "state", "damage", "times", "unnoticed", "crashes, hangs", "wrong values", "untouched read",
        "flips in free places",
    ]  # fmt: skip
    if options.write:
        put_table("corruption", header, rows, "`unnoticed`, `crashes, hangs` and `wrong values` must be 0.")
    sys.exit(0 if is_clean else 1)


if __name__ == "__main__":
    main()
