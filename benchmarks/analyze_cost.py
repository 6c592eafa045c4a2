"""What does an analysis without the learning coefficient cost? python benchmarks/analyze_cost.py [--rounds N] [--write]

`devi train modular_addition` as shipped, then `devi analyze` of it as whole processes, everything but the learning
coefficient: losses, norms, Fourier, tickets, transitions, report. And, in a process of its own, what its parts take.
"per interval" is (a part's seconds per checkpoint) / (seconds of training between two checkpoints).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devi.tasks.modular_addition import ModularAddition

PARTS = ("losses", "norms", "fourier", "tickets", "transitions", "report")
HEADER = ("what", "seconds", "ms per checkpoint", "per interval, %")


@dataclass(frozen=True)
class Cheap(ModularAddition):
    """The task without its dear metric."""

    def metrics(self) -> Sequence[str]:
        return [name for name in super().metrics() if name != "llc"]


def child(folder: Path, out: Path) -> None:
    from devi import report
    from devi.analysis import analyze
    from devi.checkpoints.reader import open_run

    run = open_run(folder, Cheap())
    marks: list[tuple[str, float]] = []

    def progress(what: str, share: float) -> None:
        marks.append((what.split(":")[0], time.perf_counter()))

    began = time.perf_counter()
    analysis = analyze(run, progress=progress)
    ended = time.perf_counter()
    report.write(analysis, out)
    taken = dict.fromkeys(PARTS, 0.0)
    taken["report"] = time.perf_counter() - ended
    for (_, start), (what, end) in zip([("", began), *marks], marks, strict=False):
        taken[what if what in taken else PARTS[0]] += end - start  # checking the run counts as its first metric
    print(json.dumps(taken))


def called(*command: object) -> tuple[float, str]:
    began = time.perf_counter()
    answer = subprocess.run([sys.executable, *map(str, command)], check=True, capture_output=True, text=True).stdout
    return time.perf_counter() - began, answer


def main() -> None:
    from tables import put_table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*map(Path, options.child))
        return
    devi, training = ("-m", "devi.cli.main"), []
    seconds: dict[str, list[float]] = {name: [] for name in (*PARTS, "devi analyze, the process")}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(options.rounds):
            run, place = Path(scratch) / f"run{number}", Path(scratch) / f"report{number}"
            taken, _ = called(*devi, "train", "modular_addition", "--out", run)
            idle, _ = called(*devi, "train", "modular_addition", "--steps", 1, "--out", f"{run}-start")
            training.append(taken - idle)
            whole, _ = called(*devi, "analyze", run, "--task", f"{Path(__file__).resolve()}:Cheap", "--out", place)
            seconds["devi analyze, the process"].append(whole)
            for name, part in json.loads(called(__file__, "--child", run, f"{place}-parts")[1]).items():
                seconds[name].append(part)
        from devi.checkpoints.reader import open_run

        checkpoints = len(open_run(Path(scratch) / "run0"))
    metrics = [sum(parts) for parts in zip(*(seconds[name] for name in PARTS[:4]), strict=True)]
    rows = []
    for name, each in {**seconds, "the four metrics together": metrics}.items():
        share = 100 * np.array(each) / checkpoints / (np.array(training) / (checkpoints - 1))
        rows.append([
            name, f"{np.median(each):.2f} ({min(each):.2f} to {max(each):.2f})",
            f"{1e3 * np.median(each) / checkpoints:.1f}",
            f"{np.median(share):.1f} ({share.min():.1f} to {share.max():.1f})",
        ])  # fmt: skip
    for row in (HEADER, *rows):
        print(*row, sep=" | ")
    if options.write:
        note = (
            f"{checkpoints} checkpoints; training took {np.median(training):.1f} s without the start of its process."
            f" Medians of {options.rounds} rounds, with minimum and maximum. Goals: 15 s in all, 5% per interval."
        )
        put_table("analyze cost", HEADER, rows, note)


if __name__ == "__main__":
    main()
