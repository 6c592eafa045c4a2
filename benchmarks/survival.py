"""What is left of a run when its writer is killed: python benchmarks/survival.py [--write]

The writer (dying_writer.py) gets SIGKILL, then SIGTERM, while it starts, while it trains and while it closes; what it
left is resumed, killed again, and after at most four kills run to its end. Each time: every acknowledged checkpoint
must be there with the bits of an uninterrupted run, at most one more may be (written, not yet acknowledged), nothing
may be damaged, and the run must go on to the end with those bits.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from children import Board, begin, ended
from dying_writer import CASES, PHASES, Case, Score, finish, look, straight_run, train, warm_up
from tables import put_table

KILLS_A_RUN = 4


def kills(
    place: Path, case: Case, how: signal.Signals, count: int, straight: dict[int, bytes], times: dict[str, float]
) -> Score:
    """`count` kills of living writers, a third in each phase."""
    score, generator, phases, number = Score(), random.Random(how), itertools.cycle(PHASES), 0
    while score["ends"] < count:
        number += 1
        folder, acknowledged = place / f"run-{number}", 0
        for _ in range(min(KILLS_A_RUN, count - score["ends"])):
            board = Board()
            phase = next(phases)
            child = begin(board, lambda folder=folder, board=board: train(folder, case, board))
            code = None
            while board.phase != phase and (code := ended(child, wait=False)) is None:
                time.sleep(0.0001)
            time.sleep(generator.random() ** 2 * times[phase])
            if code is None and (code := ended(child, wait=False)) is None:
                os.kill(child, how)
                code = ended(child)
            if code not in (0, -how):
                score["not resumable"] += 1
                print(f"not resumable: {folder}: exit {code}: {board.text}", file=sys.stderr)
            if code == -how:
                score["ends"] += 1
                score[board.phase] += 1
            acknowledged = max(acknowledged, board.acknowledged)
            look(folder, acknowledged, straight, score)
            if code == 0:  # it was done before the kill
                break
        finish(folder, case, straight, score)
        shutil.rmtree(folder)
    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=64, help="kills with each signal at each size")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    warm_up()
    rows, is_clean = [], True
    for case in CASES:
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            for name in ("cold", "straight"):
                straight, times = straight_run(place / name, case)
            for how in (signal.SIGKILL, signal.SIGTERM):
                score = kills(place, case, how, options.count, straight, times)
                rows.append(score.row(case, how.name))
                is_clean &= score.is_clean
                print(*rows[-1], sep=" | ", flush=True)
    if options.write:
        put_table("survival", Score.HEADER, rows, "All between `torn` and `runs finished` must be 0.")
    sys.exit(0 if is_clean else 1)


if __name__ == "__main__":
    main()
