"""How long until devi answers: python benchmarks/startup.py [--write]

Times `devi --help` and `devi show RUN` as whole processes, in turn with an interpreter that does nothing and one that
only imports torch. Medians of 11 runs, with minimum and maximum.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tables import put_table

ROUNDS = 11


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    devi = [sys.executable, "-m", "devi.cli.main"]
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        subprocess.run([*devi, "train", "superposition", "--out", run], check=True, capture_output=True)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "import torch": [sys.executable, "-c", "import torch"],
            "devi --help": [*devi, "--help"],
            "devi show RUN": [*devi, "show", str(run)],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for command in commands.values():  # warm the file cache
            subprocess.run(command, check=True, capture_output=True)
        for _ in range(ROUNDS):
            for name, command in commands.items():
                began = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                seconds[name].append(time.perf_counter() - began)
    idle = float(np.median(seconds["python -c pass"]))
    rows = [
        [name, f"{np.median(s):.2f}", f"{min(s):.2f} to {max(s):.2f}", f"{np.median(s) / idle:.1f} ×"]
        for name, s in seconds.items()
    ]
    header = ["command", "median, s", "range, s", "against an idle interpreter"]
    for row in (header, *rows):
        print(*row, sep=" | ")
    if options.write:
        put_table("startup", header, rows, "Goals: 0.3 s for --help, 0.5 s for show.")


if __name__ == "__main__":
    main()
