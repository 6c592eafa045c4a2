"""devi convert: checkpoints that other programs wrote, made into a run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from devi.cli.answer import print_document
from devi.errors import DeviError, counted, quoted

if TYPE_CHECKING:
    from devi.cli.progress import Progress


def convert(
    source: Annotated[Path, Argument(metavar="SRC", help="Folder of checkpoints, or one HDF5 file")],
    out: Annotated[Path, Option(help="Directory of the new run")],
    task: Annotated[str, Option(help="Whose checkpoints they are: file.py:Name, pkg.mod:Name, or a built-in task")],
    set_: Annotated[
        list[str] | None, Option("--set", metavar="KEY=VALUE", help="Any setting of the task; repeatable")
    ] = None,
    step_pattern: Annotated[
        str | None, Option(metavar="RE", help=r"Where a file name has its step, in one group: 'it(\d+)\.pt'")
    ] = None,
    rename: Annotated[
        list[str] | None, Option(metavar="OLD=NEW", help="A name in the files and the model's; repeatable")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON document and nothing else")] = False,
) -> None:
    """Make a run of checkpoints that other programs wrote.

    Reads folders of .pt, .pth and .safetensors, Hugging Face checkpoint-N folders, Lightning .ckpt, and an HDF5 file
    with one dataset a parameter or one group a step. One checkpoint at a time is in memory; what was interrupted is
    taken up by the same command. Files are never run: those with Python objects in them are refused.

    Example: devi convert my_checkpoints --out checkpoints/mine --task superposition --set features=5
    """
    from devi.checkpoints.foreign.convert import convert as convert_source
    from devi.cli.progress import progress
    from devi.cli.settings import read_settings
    from devi.plugins import load
    from devi.task import Task, with_settings

    chosen: Task = with_settings(load("task", task), read_settings(None, set_ or []), called=task)
    with progress() as shown:
        done = convert_source(
            source,
            out,
            chosen,
            name=task,
            pattern=step_pattern,
            renames=rename or [],
            progress=shown.count(f"convert {source.name}", "checkpoints"),
            notice=shown.note,
        )
    if as_json:
        print_document(json.dumps({"run": str(out), **done._asdict()}))
        return
    before = f", {done.already} of them from before" if done.already else ""
    made = counted(done.checkpoints, "checkpoint")
    print(f"{out}: {made}{before}, from {done.kind}, steps {done.first:,} to {done.last:,}")
    print(f"next: devi analyze {quoted(out)} --task {quoted(task)}")


def converted_run(path: Path, task: str | None, shown: Progress) -> Path:
    """The run made of other programs' checkpoints; it stays in a cache for the next time."""
    from devi.checkpoints.foreign.cache import converted
    from devi.plugins import load
    from devi.task import Task, with_settings

    if task is None:
        raise DeviError(
            f"{path} holds checkpoints of another program, which do not say what model they are of."
            f" Say it: devi analyze {quoted(path)} --task my_model.py:Name"
        )
    chosen: Task = with_settings(load("task", task), {}, called=task)
    count = shown.count(f"convert {path.name}", "checkpoints")
    try:
        return converted(path, chosen, name=task, progress=count, notice=shown.note)
    except DeviError as error:
        raise DeviError(
            f"{error}\nOptions for the task's settings, names and steps are those of:"
            f" {shlex.join(['devi', 'convert', str(path), '--out', f'checkpoints/{path.name}', '--task', task])}"
        ) from None
