"""A writer that is going to die, and the look at what it left: shared by survival.py and full_disk.py.

It trains a model with Adam, dropout, minibatches and a scheduler, records every step, and acknowledges each checkpoint
in shared memory once record() has returned. Small segments, and slots every few milliseconds, put many of its deaths
into a change of segment and into a slot.
"""

from __future__ import annotations

import collections
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from children import Board, begin, ended, runs_bits
from torch import nn

from devi import DeviError, Recorder, open_run
from devi.checkpoints import keeper

SLOT_SECONDS = 0.01  # instead of 5: a run here lasts less than a second
RECORDS_A_SEGMENT = 8
START, LOOP, CLOSE = PHASES = ("start", "training", "close")


class Case(NamedTuple):
    widths: tuple[int, ...]
    steps: int

    @property
    def parameters(self) -> int:
        return sum((a + 1) * b for a, b in itertools.pairwise(self.widths))


CASES = (Case((5, 2, 2), 100), Case((64, 100, 32), 60), Case((256, 384, 256, 128), 24))


def nothing(phase: str, step: int) -> None:
    pass


def train(folder: Path, case: Case, board: Board, *, trouble: Callable[[str, int], None] = nothing) -> None:
    """A user's loop, begun or resumed; `trouble` is called with phase and step, and may make some."""
    keeper.SLOT_SECONDS, keeper.SLOT_SHARE, keeper.SNAPSHOT_SHARE = SLOT_SECONDS, 1.0, 1.0
    torch.manual_seed(0)
    layers = [layer for a, b in itertools.pairwise(case.widths) for layer in (nn.Linear(a, b), nn.Dropout(0.1))]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, case.steps)
    order = torch.Generator().manual_seed(1)
    inputs = torch.randn(64, case.widths[0], generator=torch.Generator().manual_seed(2))
    trouble(START, 0)
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
            trouble(LOOP, step)
            record(step, model, loss=0.5 * step)
            board.acknowledged, board.phase = max(board.acknowledged, step + 1), LOOP
            optimizer.zero_grad()
            chosen = torch.randperm(64, generator=order)[:16]
            model(inputs[chosen]).square().mean().backward()
            optimizer.step()
            scheduler.step()
        board.phase = CLOSE
        trouble(CLOSE, case.steps)


class Score(collections.Counter[str]):
    """What happened in a campaign. Everything in WRONG must stay 0."""

    WRONG = ("acknowledged lost", "more than one extra", "damaged", "not resumable", "other bits", "not told")

    HEADER = ("parameters", "end", "times", "where", "checkpoints left", "torn", *WRONG, "runs finished")

    @property
    def is_clean(self) -> bool:
        return not any(self[key] for key in self.WRONG)

    def row(self, case: Case, end: str) -> list[Any]:
        places = {key for key, count in self.items() if count} - {
            *self.WRONG,
            "ends",
            "torn",
            "checkpoints",
            "finished",
        }
        where = ", ".join(f"{key} {self[key]}" for key in sorted(places))
        counts = [self[key] for key in ("checkpoints", "torn", *self.WRONG, "finished")]
        return [f"{case.parameters:,}", end, self["ends"], where, *counts]


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


def warm_up() -> None:
    """Load what every child would load anew."""
    torch.set_num_threads(1)
    torch.optim.Adam(nn.Linear(1, 1).parameters()).zero_grad()
