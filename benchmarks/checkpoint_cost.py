"""Does the cost grow with the checkpoints, and the memory not? python benchmarks/checkpoint_cost.py [--write]

The learning coefficient, as `devi analyze` computes it, at fixed sampler settings (40 draws of 4 chains, SGLD) of the
first 50, 100, … 800 checkpoints of one run; a process of its own for each, which says how long it took without its
imports, and the most memory that it held. The first coefficients must be the same whatever comes behind them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sampling_cases import MLP
from tables import put_table

from devi.blocks import over
from devi.checkpoints.reader import open_run
from devi.executors import Here
from devi.memory import memory_bytes
from devi.metrics.learning_coefficient import LearningCoefficient
from devi.plan import TrainingPlan
from devi.training import train

COUNTS = (50, 100, 200, 400, 800)
MEMORY = "256M"  # the same budget for all, so that blocks are as large however much is free
METRIC = LearningCoefficient(
    sampler="sgld", chains=4, draws=40, burn_in=10, step_size=1e-5, n_beta=160.0, localization=100.0, batch_size=128
)
HEADER = ("checkpoints", "seconds", "ms per checkpoint", "× 50, time", "most memory, MiB", "× 50, memory")


def child(folder: Path, count: int) -> None:
    whole = open_run(folder, MLP)
    run = whole.block(0, count)
    over(METRIC, whole.block(0, 2), None, Here(), lambda share: None, memory=memory_bytes(MEMORY))  # imports
    began = time.perf_counter()
    found = over(METRIC, run, None, Here(), lambda share: None, memory=memory_bytes(MEMORY))
    seconds = time.perf_counter() - began
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "mebibytes": most, "llc": found["llc"].values[: COUNTS[0]].tolist()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(Path(options.child[0]), int(options.child[1]))
        return
    seconds: dict[int, list[float]] = {count: [] for count in COUNTS}
    mebibytes: dict[int, list[float]] = {count: [] for count in COUNTS}
    first: dict[int, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        plan = TrainingPlan("AdamW", 1e-2, steps=COUNTS[-1] - 1, checkpoints="every:1", batch_size=256)
        train(MLP, folder, plan=plan)
        for _ in range(options.rounds):
            for count in COUNTS:
                command = [sys.executable, "-W", "ignore", __file__, "--child", str(folder), str(count)]
                answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                seconds[count].append(answer["seconds"])
                mebibytes[count].append(answer["mebibytes"])
                first[count] = np.array(answer["llc"])
                # chains feel the rounding of what is beside them in a block, and nothing else
                assert np.allclose(first[count], first[COUNTS[0]], rtol=1e-2, atol=1e-2), "other coefficients"
    rows = []
    for count in COUNTS:
        ratios = np.array(seconds[count]) / np.array(seconds[COUNTS[0]]) * COUNTS[0] / count
        taken, most = np.median(seconds[count]), np.median(mebibytes[count])
        rows.append([
            count, f"{taken:.1f} ({min(seconds[count]):.1f} to {max(seconds[count]):.1f})",
            f"{1e3 * taken / count:.1f}",
            f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})",
            f"{most:.0f}", f"{most / np.median(mebibytes[COUNTS[0]]):.2f}",
        ])  # fmt: skip
    for row in (HEADER, *rows):
        print(*row, sep=" | ")
    if options.write:
        note = (
            f"MLP p=53, embed 12, width 48; {METRIC.chains} chains × {METRIC.draws} draws, batch {METRIC.batch_size}."
            f" Medians of {options.rounds} rounds, with minimum and maximum; ratios of the cost of one checkpoint."
            " Goals: 0.90 to 1.10, and 1.20 for memory."
        )
        put_table("checkpoint cost", HEADER, rows, note)


if __name__ == "__main__":
    main()
