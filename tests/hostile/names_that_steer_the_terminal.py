"""Names with escape sequences that set a terminal's title, clear it, or turn text around."""

from pathlib import Path

from forge import ESCAPE, run_of, use

from devi.checkpoints.layout import Stored


def make(folder: Path) -> None:
    tensors = (Stored(f"W{ESCAPE}", "float32", (2,), f"W{ESCAPE}"),)
    about = {"task": ESCAPE, "settings": {ESCAPE: ESCAPE}, "run_id": ESCAPE, ESCAPE: {ESCAPE: [ESCAPE]}}
    run_of(folder, tensors=tensors, scalars=(ESCAPE,), metadata=about)


def read(folder: Path) -> None:
    use(folder / "run")
