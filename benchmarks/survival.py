"""What is left of a run when its writer dies or its disk is full: python benchmarks/survival.py [--write]

A child process trains a model with Adam, dropout, minibatches and a scheduler, records every step, and acknowledges
each checkpoint in shared memory once record() has returned. It is killed (SIGKILL, then SIGTERM) while it starts, while
it trains and while it closes; what it left is resumed, killed again, and after at most four kills run to its end. Small
segments and slots every few milliseconds put many kills into a change of segment and into a slot. For the full disk, a
file system in memory is filled at a random step, before the start or before close, but for a few bytes.

Each time: every acknowledged checkpoint must be there with the bits of an uninterrupted run, at most one more may be
(written, not yet acknowledged), nothing may be damaged, and the run must go on to the end with those bits.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from children import Board, begin, ended, runs_bits
from tables import put_table
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints import keeper

SLOT_SECONDS = 0.01  # instead of 5: a run here lasts less than a second
KILLS_A_RUN = 4
RECORDS_A_SEGMENT = 8
DISK_BYTES = 128 << 20
START, LOOP, CLOSE = PHASES = ("start", "training", "close")
Free = Callable[[Path, int], None]


class Case(NamedTuple):
    widths: tuple[int, ...]
    steps: int

    @property
    def parameters(self) -> int:
        return sum((a + 1) * b for a, b in itertools.pairwise(self.widths))


CASES = (Case((5, 2, 2), 100), Case((64, 100, 32), 60), Case((256, 384, 256, 128), 24))


def train(folder: Path, case: Case, board: Board, *, fill: tuple[str, int] | None = None) -> None:
    """A user's loop, begun or resumed; `fill` (a phase, free bytes) fills the disk there."""
    keeper.SLOT_SECONDS, keeper.SLOT_SHARE, keeper.SNAPSHOT_SHARE = SLOT_SECONDS, 1.0, 1.0
    torch.manual_seed(0)
    layers = [layer for a, b in itertools.pairwise(case.widths) for layer in (nn.Linear(a, b), nn.Dropout(0.1))]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, case.steps)
    order = torch.Generator().manual_seed(1)
    inputs = torch.randn(64, case.widths[0], generator=torch.Generator().manual_seed(2))
    full_at = -1
    if fill is not None:
        phase, free = fill
        full_at = random.Random(free).randrange(case.steps) if phase == LOOP else -1
        if phase == START:
            fill_disk(folder.parent, free)
    record = Recorder(
        folder,
        state={"optimizer": optimizer, "scheduler": scheduler, "order": order},
        resume=True,
        segment_bytes=RECORDS_A_SEGMENT * 4 * case.parameters,
        notice=lambda text: None,
    )
    with record:
        begins = record.restore(model)
        for step in range(begins or 0, case.steps):
            if step == full_at:
                fill_disk(folder.parent, free)
            record(step, model, loss=0.5 * step)
            board.acknowledged, board.phase = max(board.acknowledged, step + 1), LOOP
            optimizer.zero_grad()
            chosen = torch.randperm(64, generator=order)[:16]
            model(inputs[chosen]).square().mean().backward()
            optimizer.step()
            scheduler.step()
        board.phase = CLOSE
        if fill is not None and phase == CLOSE:
            fill_disk(folder.parent, free)


def fill_disk(place: Path, free: int) -> None:
    """Leave `free` bytes of the file system; where none could be mounted, let no file grow beyond that size."""
    if place.is_mount():
        status = os.statvfs(place)
        with open(place / "ballast", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(status.f_bavail * status.f_frsize - free, 1))
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (free, resource.RLIM_INFINITY))


@contextlib.contextmanager
def small_disk() -> Iterator[tuple[Path, str]]:
    """A folder on a file system of its own, if this user may mount one, and what it is in words."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "devi-benchmark", scratch]
        mounted = shutil.which("mount") and subprocess.run(command, capture_output=True, check=False).returncode == 0
        try:
            yield (
                Path(scratch),
                "a tmpfs filled but for a few bytes" if mounted else "RLIMIT_FSIZE (mount not permitted)",
            )
        finally:
            if mounted:
                subprocess.run(["umount", scratch], check=True)


class Score(collections.Counter[str]):
    """What happened in a campaign. Everything in WRONG must stay 0."""

    WRONG = ("acknowledged lost", "more than one extra", "damaged", "not resumable", "other bits", "not told")

    @property
    def is_clean(self) -> bool:
        return not any(self[key] for key in self.WRONG)


def look(folder: Path, acknowledged: int, straight: dict[int, bytes], score: Score) -> None:
    """Compare what a dead writer left with what it had acknowledged and with the uninterrupted run."""
    left: dict[int, bytes] = {}
    if any(folder.glob("segment-*.h5")):
        try:
            run = open_run(folder)
            left = runs_bits(run)
            score["damaged"] += sum(finding.kind != "torn" for finding in run.findings)
            score["torn"] += len(run.findings)
        except DeviError:
            score["damaged"] += acknowledged > 0  # a first record that is not whole is no run yet
    score["acknowledged lost"] += len(set(range(acknowledged)) - set(left))
    score["more than one extra"] += len(left) > acknowledged + 1
    score["other bits"] += sum(straight[step] != content for step, content in left.items())
    score["checkpoints"] += len(left)


def finish(folder: Path, case: Case, straight: dict[int, bytes], score: Score) -> None:
    """Resume to the end, and compare."""
    board = Board()
    code = ended(begin(board, lambda: train(folder, case, board)))
    if code != 0:
        print(f"not resumable: {folder}: exit {code}: {board.text}", file=sys.stderr)
        score["not resumable"] += 1
        return
    run = open_run(folder)
    score["other bits"] += runs_bits(run) != straight
    score["damaged"] += len(run.findings)
    score["finished"] += 1


def kills(
    place: Path, case: Case, how: signal.Signals, count: int, straight: dict[int, bytes], times: dict[str, float]
) -> Score:
    """`count` kills of living writers, a third in each phase."""
    score, generator, phases, number = Score(), random.Random(how), itertools.cycle(PHASES), 0
    while score["kills"] < count:
        number += 1
        folder, acknowledged = place / f"run-{number}", 0
        for _ in range(min(KILLS_A_RUN, count - score["kills"])):
            board = Board()
            phase = next(phases)
            child = begin(board, lambda folder=folder, board=board: train(folder, case, board))
            code = None
            while board.phase != phase and (code := ended(child, wait=False)) is None:
                time.sleep(0.0001)
            time.sleep(generator.random() ** 2 * times[phase])
            if code is None and (code := ended(child, wait=False)) is None:
                os.kill(child, how)
                code = ended(child)
            if code not in (0, -how):
                score["not resumable"] += 1
                print(f"not resumable: {folder}: exit {code}: {board.text}", file=sys.stderr)
            if code == -how:
                score["kills"] += 1
                score[board.phase] += 1
            acknowledged = max(acknowledged, board.acknowledged)
            look(folder, acknowledged, straight, score)
            if code == 0:  # it was done before the kill
                break
        finish(folder, case, straight, score)
        shutil.rmtree(folder)
    return score


def where_it_failed(error: BaseException) -> str:
    """What the writer was doing when the disk was full, from the functions on its stack."""
    seen = error.__context__ or error
    names = {frame.name for frame in traceback.extract_tb(seen.__traceback__)}
    for name, words in (("write_slot", "slot"), ("write_segment", "segment"), ("write_all", "record")):
        if name in names:
            return f"{words}{' in close' if 'close' in names else ''}"
    return "start"


def full_disks(place: Path, case: Case, count: int, straight: dict[int, bytes]) -> Score:
    """`count` full disks, a third in each phase; the writer must say so, and go on when there is space."""
    score, generator = Score(), random.Random(0)
    while score["kills"] < count:
        folder, board = place / "run", Board()
        most = 20_000 + RECORDS_A_SEGMENT * 6 * case.parameters
        fill = PHASES[score["kills"] % 3], int(most ** generator.random())  # often next to nothing, often nearly enough

        def attempt(folder: Path = folder, board: Board = board, fill: tuple[str, int] = fill) -> None:
            try:
                train(folder, case, board, fill=fill)
            except DeviError as error:
                board.text = f"{where_it_failed(error)}: {error}"
                os._exit(3)

        code = ended(begin(board, attempt))
        where, _, text = board.text.partition(": ")
        if code == 3 and "the disk is full" in text and "--resume" in text:
            score["kills"] += 1
            score[where] += 1
        elif code != 0:
            score["not told"] += 1
            print(f"full disk: exit {code}: {board.text}", file=sys.stderr)
        look(folder, board.acknowledged, straight, score)
        (place / "ballast").unlink(missing_ok=True)
        finish(folder, case, straight, score)
        shutil.rmtree(folder)
    return score


def straight_run(folder: Path, case: Case) -> tuple[dict[int, bytes], dict[str, float]]:
    """The bits of an uninterrupted run, and how long it took to start, to train and to close."""
    board, times = Board(), dict.fromkeys(PHASES, 0.0)
    child = begin(board, lambda: train(folder, case, board))
    before, code = time.monotonic(), None
    while code is None:
        time.sleep(0.0002)
        now = time.monotonic()
        times[board.phase or START] += now - before
        before, code = now, ended(child, wait=False)
    if code != 0:
        raise SystemExit(f"the uninterrupted run failed: {board.text}")
    return runs_bits(open_run(folder)), times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=64, help="kills, and full disks, for each size")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.optim.Adam(nn.Linear(1, 1).parameters()).zero_grad()  # loads what every child would load anew
    rows, is_clean = [], True
    for case in CASES:
        with tempfile.TemporaryDirectory() as scratch, small_disk() as (disk, kind):
            for name in ("warm", "straight"):
                straight, times = straight_run(Path(scratch) / name, case)
            scores = {
                "SIGKILL": kills(Path(scratch), case, signal.SIGKILL, options.count, straight, times),
                "SIGTERM": kills(Path(scratch), case, signal.SIGTERM, options.count, straight, times),
                "full disk": full_disks(disk, case, options.count, straight),
            }
        for what, score in scores.items():
            known = {"kills", "finished", "checkpoints", *Score.WRONG}
            places = ", ".join(f"{key} {score[key]}" for key in sorted(set(score) - known - {"torn"}) if score[key])
            rows.append(
                [f"{case.parameters:,}", what, score["kills"], places, score["checkpoints"], score["torn"]]
                + [score[key] for key in Score.WRONG]
                + [score["finished"]]
            )
            is_clean &= score.is_clean
            print(*rows[-1], sep=" | ", flush=True)
    header = ["parameters", "end", "times", "where", "checkpoints left", "torn", *Score.WRONG, "runs finished"]
    if options.write:
        put_table(
            "survival", header, rows, f"Full disk: {kind}. Everything between `torn` and `runs finished` must be 0."
        )
    sys.exit(0 if is_clean else 1)


if __name__ == "__main__":
    main()
