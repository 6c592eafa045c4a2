"""What five ways to keep checkpoints lose to kills and to damaged files: python benchmarks/peers_survival.py [--write]

Kills: a child process writes checkpoints as fast as it can and counts each one in shared memory when its write has
returned. It gets SIGKILL at a random moment. Then every checkpoint that was counted is asked for.

Damage: a closed run of 56 checkpoints; one of its files is cut, or one bit of it is flipped. Each checkpoint is then
asked for by itself; unnoticed means that there was no error for any of them. For devi see corruption.py.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from checkpoint_ways import WAYS, TorchSave, Way
from children import Board, answer_of, begin, ended
from damage import DAMAGES, drawn, model_of, put
from tables import put_table
from torch import nn

SIZES = ((5, 2, 2), (64, 100, 32), (256, 384, 256, 128))
RECORDS = 56
MOST = 100_000  # checkpoints: none comes so far
SECONDS = 0.2  # a kill falls within so much after the first checkpoint


def filled(widths: tuple[int, ...], step: int, model: nn.Module | None = None) -> nn.Module:
    """A model whose every number is the step: quick to make and to check."""
    model = model or nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(widths)))
    for parameter in model.parameters():
        parameter.data.fill_(step)
    return model


def write(cls: type[Way], folder: Path, widths: tuple[int, ...], board: Board) -> None:
    model = filled(widths, 0)
    way = cls(folder, model, MOST)
    for step in range(MOST):
        way.write(step, filled(widths, step + 1, model))
        board.acknowledged = step + 1


def readable(cls: type[Way], folder: Path, widths: tuple[int, ...], count: int) -> tuple[int, bool]:
    """How many of the first `count` checkpoints are there with their values, and whether a torn file follows them."""
    way = cls.__new__(cls)  # a reader of what another process wrote
    way.folder, way.count = folder, count
    try:
        reader = way.open()
    except Exception:
        return 0, False
    right = 0
    for step in range(count):
        try:
            values = reader.one(step)
            right += bool(values) and all(bool((value == step + 1).all()) for value in values.values())
        except Exception:
            continue
    if not isinstance(way, TorchSave) or not way.path(count).exists():  # of the others none has a file a step
        return right, False
    try:
        reader.one(count)
    except Exception:
        return right, True
    return right, False


def killed_row(name: str, cls: type[Way], widths: tuple[int, ...], count: int) -> list[Any]:
    generator, acknowledged, lost, all_lost, torn = random.Random(0), 0, 0, 0, 0
    for _ in range(count):
        with tempfile.TemporaryDirectory() as scratch:
            folder, board = Path(scratch) / "run", Board()
            child = begin(board, lambda folder=folder, board=board: write(cls, folder, widths, board))
            while board.acknowledged == 0 and ended(child, wait=False) is None:
                time.sleep(0.0002)
            time.sleep(generator.random() * SECONDS)
            os.kill(child, signal.SIGKILL)
            assert ended(child) == -signal.SIGKILL, board.text
            had = board.acknowledged
            left, is_torn = answer_of(lambda folder=folder, had=had: readable(cls, folder, widths, had)) or (0, False)
            shutil.rmtree(folder, ignore_errors=True)
        acknowledged, lost = acknowledged + had, lost + had - left
        all_lost, torn = all_lost + (left == 0), torn + is_torn
    parameters = sum((a + 1) * b for a, b in itertools.pairwise(widths))
    return [f"{parameters:,}", name, count, acknowledged, lost, all_lost, torn]


def damaged_row(name: str, cls: type[Way], folder: Path, damage: str, count: int) -> list[Any]:
    """What a closed run with a damaged file still gives, and whether anything says so."""
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
            return found | {"errors": RECORDS}
        for step in range(RECORDS):
            try:
                values, truth = reader.one(step), model_of(step).state_dict()
                is_right = values.keys() == truth.keys() and all(torch.equal(values[k], truth[k]) for k in truth)
                found["right" if is_right else "wrong"] += 1
            except Exception:
                found["errors"] += 1
        return found

    generator = random.Random(damage)
    unnoticed = crashes = wrong = right = 0
    for _ in range(count):
        done = drawn(files, damage, {}, generator)
        put(done.path, done.content)
        found = answer_of(read)
        put(done.path, files[done.path])
        if found is None:
            crashes += 1
            continue
        unnoticed += not found["errors"]
        wrong += found["wrong"]
        right += found["right"]
    return [name, damage, count, unnoticed, crashes, wrong, f"{right / count:.1f} of {RECORDS}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=64, help="kills for each way and size")
    parser.add_argument("--damages", type=int, default=200, help="damaged files of each kind for each way")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for widths in SIZES:
        for name, cls in WAYS.items():
            rows.append(killed_row(name, cls, widths, options.kills))
            print(*rows[-1], sep=" | ", flush=True)
    damaged = []
    with tempfile.TemporaryDirectory() as scratch:
        for (name, cls), damage in itertools.product(WAYS.items(), DAMAGES[:2]):
            if name != "devi":  # corruption.py
                damaged.append(damaged_row(name, cls, Path(scratch) / f"{name}-{damage}", damage, options.damages))
                print(*damaged[-1], sep=" | ", flush=True)
    header = ["parameters", "way", "kills", "written", "lost of these", "kills that lost all", "torn files left"]
    if options.write:
        put_table("peers killed", header, rows, "SIGKILL; `written` counts checkpoints whose write had returned.")
        header = ["way", "damage", "times", "unnoticed", "crashes, hangs", "wrong values", "read right"]
        put_table("peers damaged", header, damaged, f"A closed run of {RECORDS} checkpoints. devi: see corruption.")


if __name__ == "__main__":
    main()
