"""How long it takes to open a run of 100,000 checkpoints, and to follow it while it is written.

    python benchmarks/open_run.py [--write] [--checkpoints 100000] [--rounds 5]

Two models: 18 parameters (16 MiB in all, every record hashed when the run is opened) and 9,732 (3.7 GiB, each record
hashed when it is first read). Opening is timed in a fresh process after `import devi` and the reader's modules. To
follow: a writer in another process adds checkpoints; timed is each `refresh()`, and that none was lost or read wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tables import put_table

from devi.checkpoints.layout import Layout, Stored
from devi.checkpoints.lock import WriterLock
from devi.checkpoints.reader import open_run
from devi.checkpoints.segment import SEGMENT_BYTES
from devi.checkpoints.store import Store

MODELS = {18: (12, 6), 9_732: (9_604, 128)}
FOLLOWED = 5000  # checkpoints that are added while a reader follows

OPEN = """
import json, sys, time
import devi
from devi.checkpoints.reader import open_run
start, worked = time.perf_counter(), time.process_time()
run = open_run(sys.argv[1])
first, last, count = int(run.steps[0]), int(run.steps[-1]), len(run)
opened, spent = time.perf_counter(), time.process_time()
columns = [tensor.field for tensor in run.layout.tensors]
one = time.perf_counter()
run._records.columns(run._places[5:37], columns)
read = time.perf_counter()
print(json.dumps([opened - start, spent - worked, read - one, run.is_checked, count]))
"""


def written(path: Path, sizes: tuple[int, ...], count: int, *, pause: float = 0.0) -> None:
    """A run whose every weight of step t is t."""
    path.mkdir(exist_ok=True)
    names = [f"W{number}" for number in range(len(sizes))]
    tensors = tuple(Stored(name, "float32", (size,), name) for name, size in zip(names, sizes, strict=True))
    store = Store(path, segment_bytes=SEGMENT_BYTES, expected=None)
    store.start(Layout(("train_loss",), tensors), {"task": None, "run_id": "0" * 32})
    for step in range(count):
        store.buffer.record["step"] = step
        for name in names:
            store.buffer.record[name] = step
        store.append(step)
        if pause:
            time.sleep(pause)
    store.close()


def opened(path: Path, rounds: int) -> list[list[float]]:
    """Per round: seconds to open, of work in them, to read 32 checkpoints; whether all was hashed; how many."""
    command = [sys.executable, "-c", OPEN, str(path)]
    return [json.loads(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(rounds)]


def write_live(path: Path, parameters: int) -> None:
    """What the writer's process does: the run under a lock, slowly enough to be followed."""
    path.mkdir()
    lock = WriterLock(path, print)
    written(path, MODELS[parameters], FOLLOWED, pause=1e-4)
    lock.release()


def followed(path: Path, parameters: int) -> tuple[list[float], int, int]:
    """Of a run that is being written: seconds of each refresh that found something, checkpoints seen and read wrong."""
    code = f"import open_run, pathlib; open_run.write_live(pathlib.Path({str(path)!r}), {parameters})"
    writer = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent)
    while not (path.is_dir() and any(path.glob("segment-*.h5"))):
        time.sleep(0.01)
    run = open_run(path)
    assert run.is_live
    seconds, wrong, known = [], 0, 0
    while True:
        is_over = writer.poll() is not None
        start = time.perf_counter()
        new = run.refresh()
        if new:
            seconds.append(time.perf_counter() - start)
        for step, value in zip(run.steps[known:], run.parameters(slice(known, None))["W0"][:, -1], strict=True):
            wrong += step != value
        known = len(run)
        if is_over:
            break
    assert writer.returncode == 0
    return seconds, known, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--checkpoints", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows = []
    for count, sizes in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run"
            written(path, sizes, arguments.checkpoints)
            times = opened(path, arguments.rounds)
            start = time.perf_counter()
            run = open_run(path).check()
            hashed = time.perf_counter() - start
            assert len(run) == arguments.checkpoints
            refreshes, seen, wrong = followed(Path(folder) / "live", count)
            row = [
                f"{count:,}",
                f"{sum(file.stat().st_size for file in path.iterdir()) / 2**20:,.0f} MiB",
                _spread([each[0] for each in times]),
                _spread([each[1] for each in times]),
                "yes" if times[0][3] else "no",
                f"{statistics.median(each[2] for each in times) * 1e3:.2f}",
                f"{hashed:.2f}",
                _spread(refreshes),
                f"{seen} of {FOLLOWED}, {wrong} wrong",
            ]
            rows.append(row)
            print(row)
    if arguments.write:
        header = ["parameters", "size", "open, ms", "of it at work, ms", "all hashed then", "then read 32, ms",
                  "open and hash all, s", "refresh, ms", "followed"]  # fmt: skip
        note = (
            f"{arguments.checkpoints:,} checkpoints, just written, so in the page cache if that is large enough;"
            " fresh processes, import not counted. Median with minimum and maximum."
            f" Load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
        )
        put_table("open run", header, rows, note)


def _spread(seconds: list[float]) -> str:
    low, middle, high = min(seconds) * 1e3, statistics.median(seconds) * 1e3, max(seconds) * 1e3
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
