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
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import torch
from checkpoint_ways import WAYS, Way
from children import Board, begin, ended, runs_bits
from tables import put_table
from torch import nn

from devi import DeviError, Recorder, open_run

RECORDS = 56
SEGMENT_RECORDS = 16
SECONDS = 10.0  # a child that takes longer hangs
STATES = ("closed", "live", "killed")
DAMAGES = ("truncation", "bit flip anywhere", "bit flip in metadata")


class Fields(NamedTuple):
    """Where the records of a segment stand in its file, found with h5py and not with devi."""

    start: int
    size: int
    places: int

    @classmethod
    def of(cls, path: Path) -> Fields:
        with h5py.File(path) as file:
            dataset = file["checkpoints"]
            return cls(dataset.id.get_offset(), dataset.dtype.itemsize, len(dataset))

    @property
    def end(self) -> int:
        return self.start + self.size * self.places


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

    def touched(self, path: Path, start: int, end: int) -> set[int]:
        """The checkpoints that have bytes in [start, end) of a file."""
        fields, first = self.fields[path], self.first_step[path]
        touched = {
            first + place
            for place in range(fields.places)
            if fields.start + place * fields.size < end and start < fields.start + (place + 1) * fields.size
        }
        return touched & set(self.bits)

    @contextmanager
    def damaged(self, path: Path, content: bytes) -> Iterator[None]:
        """The file with other bytes, in place: a live writer has it open."""
        put(path, content)
        try:
            yield
        finally:
            for each, whole in self.files.items():
                put(each, whole)


def model_of(step: int, model: nn.Module | None = None) -> nn.Module:
    """A model whose every number depends on the step."""
    model = model or nn.Sequential(nn.Linear(16, 20), nn.Linear(20, 8))
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def put(path: Path, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.write(content)
        file.truncate()


def flipped(content: bytes, at: int, bit: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


def drawn(files: dict[Path, bytes], damage: str, fields: dict[Path, Fields], generator: random.Random) -> Any:
    """A file, its damaged content, and the span of bytes that changed."""
    path = generator.choices(list(files), [len(content) for content in files.values()])[0]
    content = files[path]
    place = generator.randrange(len(content))
    if damage == "truncation":
        return path, content[:place], place, len(content)
    if damage == "bit flip in metadata":
        around = fields[path]
        place = generator.randrange(around.start + len(content) - around.end)
        place += (around.end - around.start) * (place >= around.start)
    return path, flipped(content, place, generator.randrange(8)), place, place + 1


def answer_of(work: Callable[[], Any]) -> Any:
    """What `work` returns, as JSON, from a child process; None if it crashed or hung."""
    board = Board()

    def answer() -> None:
        board.text = json.dumps(work())
        os._exit(0)

    child, deadline = begin(board, answer), time.monotonic() + SECONDS
    while (code := ended(child, wait=False)) is None:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            ended(child)
            return None
        time.sleep(0.0005)
    if code != 0:
        print(board.text or f"exit {code}", file=sys.stderr)
        return None
    return json.loads(board.text)


def read_devi(subject: Subject) -> dict[str, Any]:
    """The steps read with their bits, those with other bits, and how many findings there were."""
    try:
        run = open_run(subject.folder)
        if subject.state == "live":
            subject.follow()
            run.refresh()
            assert run.steps[-1] == RECORDS, "the record that followed was not read"
        bits = runs_bits(run)
    except DeviError as error:
        return {"right": [], "wrong": [], "findings": 1, "text": str(error)}
    bits.pop(RECORDS, None)
    right = [step for step, content in bits.items() if subject.bits.get(step) == content]
    return {"right": right, "wrong": sorted(set(bits) - set(right)), "findings": len(run.findings)}


def devi_row(subject: Subject, damage: str, count: int) -> list[Any]:
    generator = random.Random(f"{subject.state} {damage}")
    unnoticed = crashes = wrong = untouched = read = harmless = 0
    for _ in range(count):
        path, content, start, end = drawn(subject.files, damage, subject.fields, generator)
        with subject.damaged(path, content):
            answer = answer_of(lambda: read_devi(subject))
        if answer is None:
            crashes += 1
            continue
        whole = set(subject.bits) - subject.touched(path, start, end)
        untouched, read = untouched + len(whole), read + len(whole & set(answer["right"]))
        wrong += len(answer["wrong"])
        if not answer["findings"]:
            is_free = len(answer["right"]) == RECORDS and subject.fields[path].start <= start < subject.fields[path].end
            harmless += is_free
            unnoticed += not is_free
    return ["devi", subject.state, damage, count, unnoticed, crashes, wrong, f"{100 * read / untouched:.2f}%", harmless]


def peer_row(name: str, cls: type[Way], folder: Path, damage: str, count: int) -> list[Any]:
    """The same for another way to keep checkpoints; each checkpoint is asked for by itself."""
    folder.parent.mkdir(exist_ok=True)
    way = cls(folder, model_of(0), RECORDS)
    for step in range(RECORDS):
        way.write(step, model_of(step))
    way.close()
    files = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    def read() -> dict[str, int]:
        found = {"errors": 0, "right": 0, "wrong": 0}
        try:
            reader = way.open()
        except Exception:
            return {"errors": RECORDS, "right": 0, "wrong": 0}
        for step in range(RECORDS):
            try:
                values, truth = reader.one(step), model_of(step).state_dict()
                is_right = values.keys() == truth.keys() and all(torch.equal(values[k], truth[k]) for k in truth)
                found["right" if is_right else "wrong"] += 1
            except Exception:
                found["errors"] += 1
        return found

    generator = random.Random(damage)
    unnoticed = crashes = wrong = read_count = 0
    for _ in range(count):
        path, content, _, _ = drawn(files, damage, {}, generator)
        put(path, content)
        found = answer_of(read)
        put(path, files[path])
        if found is None:
            crashes += 1
            continue
        unnoticed += not found["errors"]
        wrong += found["wrong"]
        read_count += found["right"]
    share = f"{100 * read_count / ((RECORDS - 1) * (count - crashes or 1)):.0f}% of {RECORDS - 1}"
    return [name, "closed", damage, count, unnoticed, crashes, wrong, share, "-"]


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
    return ["devi", state, "cut at every byte", len(content), unnoticed, 0, wrong, share, 0]


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
            subject = Subject(Path(scratch) / state, state)
            for damage in DAMAGES:
                add(devi_row(subject, damage, options.count))
        for is_closed in (True, False):
            add(cut_everywhere(Path(scratch) / f"cut-{is_closed}", is_closed=is_closed))
        is_clean = all(not any(row[4:7]) and float(row[7].rstrip("%")) >= 99 for row in rows)
        for name, cls in WAYS.items():
            if name != "devi":
                for damage in DAMAGES[:2]:
                    add(peer_row(name, cls, Path(scratch) / name.replace(" ", "-") / damage[:3], damage, options.count))
    header = [
        "way", "state", "damage", "times", "unnoticed", "crashes, hangs", "wrong values", "untouched read",
        "flips in free places",
    ]  # fmt: skip
    if options.write:
        put_table("corruption", header, rows, "For devi, `unnoticed`, `crashes, hangs` and `wrong values` must be 0.")
    sys.exit(0 if is_clean else 1)


if __name__ == "__main__":
    main()
