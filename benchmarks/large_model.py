"""Memory that checkpoints of a model of 100 million parameters take: python benchmarks/large_model.py [--write]

One copy is the model's own 400 MB. Memory is the process's resident set less what it held before the model was made;
its peak is set back before each thing that is measured. With Adam, training itself holds four copies: the model, its
gradients and two moments. Each checkpoint is a segment of its own here, because a segment aims at 64 MiB.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from children import Board, begin, ended
from tables import put_table
from torch import nn

from devi import Recorder, open_run

LAYERS, WIDTH = 4, 5000
COPY_BYTES = 4 * LAYERS * (WIDTH + 1) * WIDTH
GOAL = 3.0  # copies of the model, its own among them
CHECKPOINTS = 3


def memory(name: str) -> int:
    """Bytes of VmRSS (now) or VmHWM (the peak)."""
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(f"{name}:"))


def peak_of(work: Callable[[], Any]) -> tuple[int, int]:
    """Bytes held before, and at the peak of `work`."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = memory("VmRSS")
    work()
    return before, memory("VmHWM")


def trained(*, has_adam: bool) -> tuple[nn.Module, torch.optim.Optimizer | None]:
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)))
    if not has_adam:
        return model, None
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, foreach=False)  # foreach=True holds copies of its own
    model(torch.randn(2, WIDTH)).square().mean().backward()
    optimizer.step()
    return model, optimizer


def save(folder: Path, *, has_adam: bool) -> tuple[int, int]:
    model, optimizer = trained(has_adam=has_adam)

    def work() -> None:
        with Recorder(folder, state=None if optimizer is None else {"optimizer": optimizer}, notice=quiet) as record:
            for step in range(CHECKPOINTS):
                record(step, model, loss=0.5)

    return peak_of(work)


def go_on(folder: Path) -> tuple[int, int]:
    model, optimizer = trained(has_adam=True)

    def work() -> None:
        with Recorder(folder, state={"optimizer": optimizer}, resume=True, notice=quiet) as record:
            assert record.restore(model) == 0  # only the first checkpoint came with a slot

    return peak_of(work)


def read(folder: Path) -> tuple[int, int]:
    def work() -> None:
        run = open_run(folder)
        for step in range(len(run)):
            assert all(np.isfinite(values).all() for values in run.parameters(step).values())

    return peak_of(work)


def quiet(text: str) -> None:
    pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        bare, full = Path(scratch) / "bare", Path(scratch) / "adam"
        for name, work in {
            "save the model": lambda: save(bare, has_adam=False),
            "save the model, its state to resume with Adam": lambda: save(full, has_adam=True),
            "resume with Adam": lambda: go_on(full),
            "read three checkpoints, from a map of their files": lambda: read(bare),
        }.items():
            board = Board()

            def measure(work: Callable[[], tuple[int, int]] = work, board: Board = board) -> None:
                base = memory("VmRSS")
                board.text = " ".join(f"{(value - base) / COPY_BYTES:.2f}" for value in work())
                os._exit(0)

            if ended(begin(board, measure)) != 0:
                raise SystemExit(f"{name}: {board.text}")
            before, peak = map(float, board.text.split())
            rows.append([name, f"{before:.2f}", f"{peak:.2f}", f"{peak - before:.2f}"])
            print(*rows[-1], sep=" | ", flush=True)
    header = ["what", "copies held before", "copies at the peak", "copies added"]
    if options.write:
        note = f"One copy is {COPY_BYTES / 1e6:.0f} MB; goal for saving a model: under {GOAL:.0f} copies at the peak."
        put_table("large model", header, rows, note)
    sys.exit(0 if float(rows[0][2]) < GOAL else 1)


if __name__ == "__main__":
    main()
