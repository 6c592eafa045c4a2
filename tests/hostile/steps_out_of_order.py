"""Records with right digests whose steps run backwards."""

from pathlib import Path

from forge import run_of, use, with_steps


def make(folder: Path) -> None:
    with_steps(run_of(folder), [9, 3, 7, 10, 1])


def read(folder: Path) -> None:
    use(folder / "run")
