"""devi verify: what is damaged in a run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from devi.cli.answer import print_document
from devi.cli.exit_codes import Exit as Code
from devi.errors import counted, shown

SENTENCE = 400  # characters of a finding that are printed: names in it come from the file


def verify(
    run: Annotated[Path, Argument(help="Directory of a run")],
    as_json: Annotated[bool, Option("--json", help="Print one JSON document and nothing else")] = False,
) -> None:
    """Check every record and file of a run; exit code 4 if something is damaged.

    Example: devi verify checkpoints/superposition-seed0
    """
    from devi.checkpoints.verify import verify as verify_run
    from devi.cli.progress import progress

    with progress() as bars:
        verdict = verify_run(run, bars.count(f"check {run.name}", "checkpoints"))
    if as_json:
        print_document(json.dumps(verdict.to_json()))
    else:
        steps = verdict.steps
        span = f", steps {steps[0]:,} to {steps[-1]:,}" if steps else ""
        print(f"{run}: {counted(len(steps), 'checkpoint')} {'is' if len(steps) == 1 else 'are'} whole{span}")
        if verdict.writer is not None:
            print(shown(f"being written by {verdict.writer}", SENTENCE))
        for finding in verdict.damage:
            print(shown(f"damage: {finding}", SENTENCE))
        for finding in verdict.torn:
            print(shown(f"no damage: {finding}", SENTENCE))
        if not verdict.damage:
            print("nothing is damaged")
        elif steps:
            # the directory '.' has no name, and nothing is put into a run
            out = run / ".." / f"{run.resolve().name}-repaired" if run.name in ("", "..") else f"{run}-repaired"
            print(f"to save what is whole: {shlex.join(['devi', 'repair', str(run), '--out', str(out)])}")
    if verdict.damage:
        raise Exit(Code.WRONG)
