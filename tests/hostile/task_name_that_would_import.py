"""A task name in a file that would import a module from the folder where the user stands, and run it."""

import contextlib
import os
from pathlib import Path

from forge import changed, printed, run_of

from devi.checkpoints.reader import open_run
from devi.errors import DeviError

NAMES = ["harm:Harm", "harm.py:Harm", "harm", "os:system", "devi.tasks.superposition:Superposition"]


def make(folder: Path) -> None:
    (folder / "harm.py").write_text(f"open({str(folder / 'harmed')!r}, 'w').close()\nclass Harm: pass\n")
    for number, name in enumerate(NAMES):
        changed(run_of(folder / str(number)), lambda content, name=name: content["metadata"].update(task=name))


def read(folder: Path) -> None:
    os.chdir(folder)
    for number, name in enumerate(NAMES):
        path = folder / str(number) / "run"
        assert printed(["show", str(path)])[0] == 0
        with contextlib.suppress(DeviError):
            raise AssertionError(f"{name} was looked up: {open_run(path).task}")
