"""Records with right digests at steps around 2**63: differences of them wrap around."""

from pathlib import Path

from forge import run_of, use, with_steps


def make(folder: Path) -> None:
    with_steps(run_of(folder), [-(2**63), 0, 1, 2**63 - 1, 5])


def read(folder: Path) -> None:
    use(folder / "run")
