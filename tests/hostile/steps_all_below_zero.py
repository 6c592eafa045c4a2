"""Records with right digests, every step negative: nothing is left."""

from pathlib import Path

from forge import run_of, use, with_steps

REFUSED = "its step is negative"


def make(folder: Path) -> None:
    with_steps(run_of(folder), [-(2**63), -5, -4, -3, -1])


def read(folder: Path) -> None:
    use(folder / "run")
