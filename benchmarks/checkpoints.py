"""What a checkpoint costs: time written and read, bytes, share of a training step, beside four usual ways.

    python benchmarks/checkpoints.py [--write] [--quick] [--share]

Each way (checkpoint_ways.py) keeps the same run of a built-in task: really trained tensors that change from step to
step, and one number. The ways take turns: a piece of the run each, in rotated order, several rounds, so that a slow
moment of the machine meets all of them; a figure is the median over rounds, with minimum and maximum, and `×` is the
median over rounds of its ratio to devi in the same round. All may use the machine's page cache; devi alone syncs to the
disk, in a thread of its own. So that this takes nothing from the others, the disk comes to rest (os.sync) between two
pieces; `on disk` is the writing and that rest. Every way must give back the bits that were written.

The share of a training step is measured in one process: an optimizer step of the task, then the recorder's call with
Adam's state, over and over, long enough for several resume slots.
"""

from __future__ import annotations

import argparse
import itertools
import mmap
import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from checkpoint_cases import CASES, Case, Trained
from checkpoint_ways import WAYS, Way
from tables import put_table
from torch import Tensor, nn

from devi import Recorder

ROUNDS = 10  # of writing
READ_ROUNDS = 5
STACK = 32
POOL = 40  # distinct checkpoints, taken in turn: more than any cache of chunks or compressed blocks holds
SHARE_SECONDS = 32.0  # three resume slots
AHEAD = 64  # records that the bare way has room for


def written(
    ways: dict[str, Way], model: nn.Module, states: list[dict[str, Tensor]], count: int, scratch: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seconds per checkpoint of the calls (round, way), and until all is on the disk; seconds of closing (way,)."""
    own = model.state_dict()
    calls, durable = np.zeros((2, ROUNDS, len(ways)))
    edges = np.linspace(0, count, ROUNDS + 1).astype(int)
    piece = sum(tensor.nbytes for tensor in own.values()) * int(edges[1])
    for round_, (first, last) in enumerate(itertools.pairwise(edges.tolist())):
        for at, way in rotated(list(ways.values()), round_):
            os.sync()
            ballast(scratch / "ballast", piece)
            for step in range(first, last):
                for name, tensor in states[step % len(states)].items():
                    own[name].copy_(tensor)  # what an optimizer step does: new values in the same place
                began = time.perf_counter()
                way.write(step, model)
                calls[round_, at] += time.perf_counter() - began
            rest, _ = timed(os.sync)
            durable[round_, at] = (calls[round_, at] + rest) / (last - first)
            calls[round_, at] /= last - first
    return calls, durable, np.array([timed(way.close)[0] for way in ways.values()])


def ballast(path: Path, size: int) -> None:
    """Write a file and delete it: on a virtual machine, memory that the page cache takes for the first time costs ten
    times as much as memory it had before, and would hit one way or another by chance."""
    with open(path, "wb") as file:
        block = bytes(1 << 20)
        for _ in range(max(1, size >> 20)):
            file.write(block)
    path.unlink()


def read(ways: dict[str, Way], count: int) -> dict[str, np.ndarray]:
    """Seconds per checkpoint (round, way) of each kind of reading."""
    kinds = {kind: np.zeros((READ_ROUNDS, len(ways))) for kind in ("one", "over", "first", "stack")}
    starts = range(0, count - STACK + 1, STACK)
    for round_ in range(READ_ROUNDS):
        some = np.random.default_rng(round_).integers(0, count, 20).tolist()
        for at, way in rotated(list(ways.values()), round_):
            opening, reader = timed(way.open)
            stacks = [timed(lambda reader=reader, a=a: reader.stack(a, a + STACK))[0] for a in starts]
            kinds["first"][round_, at] = (opening + sum(stacks)) / (STACK * len(stacks))
            again = [timed(lambda reader=reader, a=a: reader.stack(a, a + STACK))[0] for a in starts[:20]]
            kinds["stack"][round_, at] = np.sum(again) / (STACK * len(again))
            kinds["one"][round_, at] = timed(lambda reader=reader, some=some: [reader.one(i) for i in some])[0] / 20
            names = list(reader.one(0))
            name = names[round_ % len(names)]
            kinds["over"][round_, at] = timed(lambda reader=reader, name=name: reader.over(name))[0] / count
            del reader
    return kinds


def check(way: Way, states: list[dict[str, Tensor]], count: int) -> None:
    """Every way gives the bits that were written, however they are asked for."""
    reader = way.open()
    for a in range(0, count - STACK, max(STACK, count // 20)):
        for name, values in reader.stack(a, a + STACK).items():
            assert values.is_contiguous()
            assert values.dtype == torch.float32
            assert torch.equal(values, torch.stack([states[i % len(states)][name] for i in range(a, a + STACK)]))
    for name, values in reader.one(count - 1).items():
        assert torch.equal(values, states[(count - 1) % len(states)][name])
        assert torch.equal(reader.over(name)[count // 2], states[count // 2 % len(states)][name])


def disk_bytes(folder: Path) -> int:
    """What the files take of the disk, in its blocks."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def file_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def rotated(things: list[Any], by: int) -> Iterator[tuple[int, Any]]:
    numbered = list(enumerate(things))
    yield from numbered[by % len(things) :] + numbered[: by % len(things)]


def timed(call: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def cells(seconds: np.ndarray) -> list[str]:
    """Per way: µs, median (minimum to maximum), and the ratio to the first way's."""
    found = []
    for times, ratio in zip(1e6 * seconds.T, np.median(seconds / seconds[:, :1], axis=0), strict=True):
        digits = 1 if np.median(times) < 20 else 0
        low, middle, high = (f"{value:.{digits}f}" for value in (times.min(), np.median(times), times.max()))
        found.append(f"{middle} ({low} to {high}) {ratio:.2f}×")
    return found


def side_by_side(case: Case, scratch: Path, divisor: int) -> list[list[str]]:
    count = case.count // divisor
    trained = Trained(case)
    states = trained.states(POOL)
    ways = {name: cls(scratch / name.replace(" ", "-"), trained.model, count) for name, cls in WAYS.items()}
    calls, durable, close = written(ways, trained.model, states, count, scratch)
    for way in ways.values():
        check(way, states, count)
    kinds = read(ways, count)
    columns = [
        cells(seconds) for seconds in (calls, durable, kinds["first"], kinds["stack"], kinds["one"], kinds["over"])
    ]
    return [
        [
            f"{trained.parameter_count:,} × {count:,}",
            name,
            way.checks,
            *(column[at] for column in columns),
            f"{1e3 * close[at]:.0f}",
            f"{file_bytes(way.folder) / count:,.0f} / {disk_bytes(way.folder) / count:,.0f}",
        ]
        for at, (name, way) in enumerate(ways.items())
    ]


def share(case: Case, scratch: Path, seconds: float) -> list[str]:
    """What the recorder adds to a training step, resume slots and all."""
    trained = Trained(case)
    steps, calls, bare = [], [], []
    barely = bare_record(trained.model, scratch.with_name("bare"))
    with Recorder(scratch, trained.task, state={"optimizer": trained.optimizer}) as record:
        loss = trained.step(0)
        record(0, trained.model, train_loss=loss)  # the layout, the first segment and the first slot are made here
        others = time.process_time() - time.thread_time()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            step, loss = timed(lambda: trained.step(len(steps) + 1))
            call, _ = timed(lambda loss=loss: record(len(steps) + 1, trained.model, train_loss=loss))
            steps.append(step)
            calls.append(call)
            if len(steps) % 16 == 0:
                loss = trained.step(len(steps))
                bare.append(timed(lambda loss=loss: barely(len(steps), loss))[0])
        others = time.process_time() - time.thread_time() - others
    return [
        f"{trained.parameter_count:,}",
        f"{len(steps):,}",
        f"{1e6 * np.mean(steps):,.0f} ({1e6 * np.median(steps):,.0f})",
        f"{1e6 * np.mean(calls):,.1f} ({1e6 * np.median(calls):,.1f})",
        f"{1e6 * np.median(bare):,.1f}",
        f"{1e6 * others / len(steps):,.1f}",
        f"{100 * np.sum(calls) / np.sum(steps):.2f}% ({100 * np.median(calls) / np.median(steps):.2f}%)",
        f"{100 * (np.sum(calls) + others) / np.sum(steps):.2f}%",
        f"{case.most:g}%",
    ]


def bare_record(model: nn.Module, path: Path) -> Callable[[int, float], None]:
    """The least that a record takes in Python: copied, hashed and put into mapped pages; nothing is looked at."""
    sources = [tensor.detach().numpy().reshape(-1).view(np.uint8).data for tensor in model.state_dict().values()]
    ends = np.cumsum([16, *map(len, sources)]).tolist()
    buffer = memoryview(bytearray(ends[-1] + 16))
    copies = [(buffer[start:end], source) for start, end, source in zip(ends, ends[1:], sources, strict=False)]
    size, hashed, digest, place_of_digest = len(buffer), buffer[:-16], xxhash.xxh3_128_digest, buffer[-16:]
    pack = struct.Struct("<qd").pack_into
    path.write_bytes(bytes(AHEAD * size))
    with open(path, "r+b") as file:
        pages = mmap.mmap(file.fileno(), 0)
    pages[:] = bytes(AHEAD * size)  # no page is touched for the first time while it is timed

    def record(step: int, loss: float) -> None:
        pack(buffer, 0, step, loss)
        for place, source in copies:
            place[:] = source
        place_of_digest[:] = digest(hashed)
        at = step % AHEAD * size
        pages[at : at + size] = buffer

    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into README.md")
    parser.add_argument("--quick", action="store_true", help="a tenth of the checkpoints")
    parser.add_argument("--share", action="store_true", help="only the share of a training step")
    parser.add_argument("--only", type=int, help="one of the cases, 0 to 2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    cases = CASES if options.only is None else [CASES[options.only]]
    rows, shares = [], []
    for case in [] if options.share else cases:
        with tempfile.TemporaryDirectory() as scratch:
            rows += side_by_side(case, Path(scratch), 10 if options.quick else 1)
        for row in rows[-len(WAYS) :]:
            print(*row, sep=" | ", flush=True)
    for case in cases:
        with tempfile.TemporaryDirectory() as scratch:
            shares.append(share(case, Path(scratch) / "run", 3 if options.quick else SHARE_SECONDS))
        print(*shares[-1], sep=" | ", flush=True)
    if options.write:
        note = f"Load {load:.1f} at the start."
        if rows:
            put_table("checkpoints", WRITING_AND_READING, rows, f"{TIMES} {note}")
        put_table("checkpoint share", SHARE, shares, f"{SHARES} {note}")


WRITING_AND_READING = [
    "run", "way", "checks when read", "write, µs", "on disk, µs", "stacks of 32 from opening on, µs",
    "stacks again, µs", "one checkpoint, µs", "one parameter over all, µs", "close, ms", "bytes in files / on disk",
]  # fmt: skip
TIMES = (
    f"µs per checkpoint: median of {ROUNDS} rounds ({READ_ROUNDS} of reading), with minimum and maximum, and the median"
    " ratio to devi in the same round."
)
SHARE = [
    "parameters", "steps", "training step, µs", "recorder's call, µs", "bare record, µs",
    "its threads at work, µs a step", "share", "share with the threads", "goal, below",
]  # fmt: skip
SHARES = (
    f"Mean (median) of {SHARE_SECONDS:g} s of training with Adam, its state kept, every step recorded; resume slots are"
    " in the mean and hardly in the median. The share is of the sums (of the medians). Training waits for the call; its"
    " threads sync, write slots and make room meanwhile, on another core if there is one: the share with them is what"
    " it would be on one core. A bare record is copied, hashed and put into mapped pages in the fewest lines of Python,"
    " as the first thing after a training step (median): nobody looks whether model, file and disk are still there."
)


if __name__ == "__main__":
    main()
