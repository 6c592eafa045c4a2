"""Records with right digests whose steps are negative: dates before training began."""

from pathlib import Path

from forge import run_of, use, with_steps


def make(folder: Path) -> None:
    with_steps(run_of(folder), [-3, -2, -1, 0, 1])


def read(folder: Path) -> None:
    use(folder / "run")
