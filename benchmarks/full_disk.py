"""What is left of a run when the disk is full: python benchmarks/full_disk.py [--write]

The writer (dying_writer.py) records to a file system in memory, which is filled but for a few bytes before the start,
at a random step, or before close. It must say so in words that name the last safe step, and end with an error. Every
acknowledged checkpoint must then be there with the bits of an uninterrupted run, and once there is space again the run
must go on to the end with those bits. Where this user may mount no file system, a limit on file size stands in for it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from children import Board, begin, ended
from dying_writer import CASES, LOOP, PHASES, RECORDS_A_SEGMENT, Case, Score, finish, look, straight_run, train, warm_up
from tables import put_table

from devi import DeviError

DISK_BYTES = 128 << 20
REFUSED = 3  # exit code of a child that was told
Trouble = Callable[[str, int], None]


def fill_disk(place: Path, free: int) -> None:
    """Leave `free` bytes of the file system; where none could be mounted, let no file grow beyond that size."""
    if place.is_mount():
        with open(place / "ballast", "wb") as file:
            is_filled = False
            while not is_filled:  # again if a thread of the writer took some of it after the look
                status = os.statvfs(place)
                with contextlib.suppress(OSError):
                    os.posix_fallocate(file.fileno(), 0, max(status.f_bavail * status.f_frsize - free, 1))
                    is_filled = True
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (free, resource.RLIM_INFINITY))


@contextlib.contextmanager
def small_disk() -> Iterator[tuple[Path, str]]:
    """A folder on a file system of its own, if this user may mount one, and what it is in words."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "devi-benchmark", scratch]
        mounted = shutil.which("mount") and subprocess.run(command, capture_output=True, check=False).returncode == 0
        try:
            yield (
                Path(scratch),
                "a tmpfs filled but for a few bytes" if mounted else "RLIMIT_FSIZE (mount not permitted)",
            )
        finally:
            if mounted:
                subprocess.run(["umount", scratch], check=True)


def where_it_failed(error: BaseException) -> str:
    """What the writer was doing when the disk was full, from the functions on its stack."""
    seen = error.__context__ or error
    names = {frame.name for frame in traceback.extract_tb(seen.__traceback__)}
    for name, words in (("write_slot", "slot"), ("write_segment", "segment"), ("write_all", "record")):
        if name in names:
            return f"{words}{' in close' if 'close' in names else ''}"
    return "start"


def full_disks(place: Path, case: Case, count: int, straight: dict[int, bytes]) -> Score:
    """`count` full disks, a third in each phase; the writer must say so, and go on when there is space."""
    score, generator = Score(), random.Random(0)
    while score["ends"] < count:
        folder, board = place / "run", Board()
        phase, at = PHASES[score["ends"] % 3], generator.randrange(case.steps)
        # often next to nothing, often nearly enough
        free = int((20_000 + RECORDS_A_SEGMENT * 6 * case.parameters) ** generator.random())

        def trouble(now: str, step: int, phase: str = phase, at: int = at, free: int = free) -> None:
            if now == phase and (now != LOOP or step == at):
                fill_disk(place, free)

        def attempt(folder: Path = folder, board: Board = board, trouble: Trouble = trouble) -> None:
            try:
                train(folder, case, board, trouble=trouble)
            except DeviError as error:
                board.text = f"{where_it_failed(error)}: {error}"
                os._exit(REFUSED)

        code = ended(begin(board, attempt))
        where, _, text = board.text.partition(": ")
        if code == REFUSED and "the disk is full" in text and "--resume" in text:
            score["ends"] += 1
            score[where] += 1
        elif code != 0:
            score["not told"] += 1
            print(f"full disk: exit {code}: {board.text}", file=sys.stderr)
        look(folder, board.acknowledged, straight, score)
        (place / "ballast").unlink(missing_ok=True)
        finish(folder, case, straight, score)
        shutil.rmtree(folder)
    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=64, help="full disks at each size")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    warm_up()
    rows, is_clean = [], True
    for case in CASES:
        with tempfile.TemporaryDirectory() as scratch, small_disk() as (disk, kind):
            straight, _ = straight_run(Path(scratch) / "straight", case)
            score = full_disks(disk, case, options.count, straight)
        rows.append(score.row(case, "full disk"))
        is_clean &= score.is_clean
        print(*rows[-1], sep=" | ", flush=True)
    if options.write:
        note = f"Full is {kind}. All between `torn` and `runs finished` must be 0."
        put_table("full disk", Score.HEADER, rows, note)
    sys.exit(0 if is_clean else 1)


if __name__ == "__main__":
    main()
