"""What does other work on the machine cost devi? python benchmarks/busy_cores.py [--rounds N] [--write]

`devi train` and `devi analyze` without the learning coefficient, as whole processes with as many threads as there are
cores: alone, and beside a process that keeps one core busy. Alternately with devi's own rule for how long torch's
threads spin while they wait for each other (devi/cli/waiting.py) and with GNU OpenMP's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tables import put_table

OPENMP = "300000"  # what libgomp takes if nobody says otherwise
TRAIN = {
    "MLP p=53": ["modular_addition", "--steps", "1000"],
    "transformer p=113": ["modular_addition", "--preset", "p113", "--steps", "100"],
}
HEADER = ("work", "beside", "devi, s", "OpenMP's own rule, s", "OpenMP's own rule ×")


def seconds(command: list[str], spins: str | None) -> float:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    if spins is not None:
        environment["GOMP_SPINCOUNT"] = spins
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "devi.cli.main", *command], env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        run = str(Path(scratch) / "run")
        seconds(["train", "modular_addition", "--out", run], None)
        task = f"{Path(__file__).with_name('analyze_cost.py')}:Cheap"
        works = {f"train, {name}": ["train", *words] for name, words in TRAIN.items()}
        works["analyze, MLP p=53, 121 checkpoints"] = ["analyze", run, "--task", task]
        for place, (name, words) in enumerate(works.items()):
            for busy in (False, True):
                other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
                try:
                    found = np.array([
                        [
                            seconds([*words, "--out", f"{scratch}/{place}-{busy}-{number}-{spins}"], spins)
                            for spins in (None, OPENMP)
                        ]
                        for number in range(options.rounds)
                    ])  # fmt: skip
                finally:
                    if other is not None:
                        other.kill()
                        other.wait()
                cells = [f"{np.median(x):.1f} ({x.min():.1f} to {x.max():.1f})" for x in found.T]
                ratio = found[:, 1] / found[:, 0]
                beside = "one busy core" if busy else "nothing"
                rows.append([name, beside, *cells, f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})"])
                print(*rows[-1], sep=" | ", flush=True)
    if options.write:
        note = (
            f"Whole processes, medians of {options.rounds} rounds, minimum and maximum; load {load:.1f} at the start."
        )
        put_table("busy cores", HEADER, rows, note)


if __name__ == "__main__":
    main()
