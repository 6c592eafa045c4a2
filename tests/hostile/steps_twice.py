"""Records with right digests whose steps come twice: which of the two is step 2?"""

from pathlib import Path

from forge import run_of, use, with_steps


def make(folder: Path) -> None:
    with_steps(run_of(folder), [0, 0, 1, 1, 2])


def read(folder: Path) -> None:
    use(folder / "run")
