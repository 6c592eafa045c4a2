"""`devi train` killed 20 times for each task, and resumed each time: python benchmarks/training_kills.py [--write]

Each process of `devi train TASK --resume` gets SIGKILL at a random moment: one in four while it starts, the others
after it has taken the run's lock. The last one runs to its end. All checkpoints must have the bits of a run that was
never interrupted; a run that ends before its 20 kills is compared, and another one begun.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from children import runs_bits
from tables import put_table

from devi import open_run
from devi.checkpoints.lock import holder_of

TASKS = {
    "superposition": ("superposition", "--steps", "8000", "--checkpoints", "every:10"),
    "modular addition, MLP, minibatches": (
        "modular_addition", "--steps", "3000", "--checkpoints", "every:10",
        "--set", "p=31", "--set", "batch_size=64", "--set", "width=48",
    ),
    "a user's model, dropout": (f"{Path(__file__).with_name('dropout_task.py')}:Dropout",),
}  # fmt: skip
KILLS = 20
START_SECONDS, TRAINING_SECONDS = 2.0, 1.5  # kills fall this long after the process began, or after it took the lock


def command(words: tuple[str, ...], out: Path) -> list[str]:
    is_begun = out.is_dir() and any(out.iterdir())
    return [sys.executable, "-m", "devi.cli.main", "train", *words, "--out", str(out), *["--resume"] * is_begun]


def killed_run(words: tuple[str, ...], out: Path, count: int, generator: random.Random) -> tuple[int, int]:
    """Start and kill until `count` kills or the end of training; the last process finishes. (kills, bad endings)."""
    kills = bad = 0
    while kills < count:
        process = subprocess.Popen(command(words, out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if kills % 4 == 0:
            time.sleep(generator.random() * START_SECONDS)
        else:
            while process.poll() is None and getattr(holder_of(out), "pid", 0) != process.pid:
                time.sleep(0.005)
            time.sleep(generator.random() * TRAINING_SECONDS)
        process.kill()
        text = process.communicate()[1].decode()
        if process.returncode == 0:
            return kills, bad  # it finished before it was killed
        kills += process.returncode == -9
        if process.returncode != -9:
            bad += 1
            print(text, file=sys.stderr)
            return kills, bad
    done = subprocess.run(command(words, out), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
    return kills, bad + (done.returncode != 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # the number of threads decides the last bits of a sum
    rows, is_clean = [], True
    for name, words in TASKS.items():
        with tempfile.TemporaryDirectory() as scratch:
            straight_path = Path(scratch) / "straight"
            subprocess.run(command(words, straight_path), check=True, capture_output=True)
            straight = runs_bits(open_run(straight_path))
            generator, kills, runs, bad, differing, found = random.Random(0), 0, 0, 0, 0, 0
            while kills < options.kills and not bad:
                path = Path(scratch) / f"killed-{runs}"
                more, wrong = killed_run(words, path, options.kills - kills, generator)
                kills, runs, bad = kills + more, runs + 1, bad + wrong
                run = open_run(path)
                bits = runs_bits(run)
                differing += sum(bits.get(step) != content for step, content in straight.items())
                differing += len(set(bits) - set(straight))
                found += len(run.findings)
            rows.append([name, len(straight), kills, runs, bad, differing, found])
            is_clean &= not (bad or differing or found)
            print(*rows[-1], sep=" | ", flush=True)
    header = ["task", "checkpoints", "kills", "runs", "not resumed", "checkpoints with other bits", "findings"]
    if options.write:
        put_table("training kills", header, rows, "SIGKILL at random moments of `devi train … --resume`.")
    sys.exit(0 if is_clean else 1)


if __name__ == "__main__":
    main()
