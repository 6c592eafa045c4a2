"""devi repair: the intact part of a damaged run as a new run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from devi.cli.answer import print_document
from devi.errors import counted, quoted, shown


def repair(
    run: Annotated[Path, Argument(help="Directory of a run; it is only read")],
    out: Annotated[Path, Option(help="Directory of the new run; it must be free")],
    as_json: Annotated[bool, Option("--json", help="Print one JSON document and nothing else")] = False,
) -> None:
    """Copy what is whole of a damaged run to a new one; its repair.json names what was lost.

    Example: devi repair checkpoints/superposition-seed0 --out checkpoints/repaired
    """
    from devi.checkpoints.reader import open_run
    from devi.checkpoints.repair import repair as repair_run
    from devi.checkpoints.task_of import how_to_resume
    from devi.cli.progress import progress

    with progress() as bars:
        done = repair_run(run, out, bars.count(f"copy {run.name}", "checkpoints"))
    if as_json:
        print_document(json.dumps(done))
        return
    kept, reasons = done["kept"], len(done["lost"])
    print(f"{out}: {counted(kept['count'], 'checkpoint')}, steps {kept['first']:,} to {kept['last']:,}")
    gone = kept["stated"] - kept["count"]
    stated = counted(kept["stated"], "checkpoint")
    lost = f"{gone:,} of the {stated} that the files left of it say they hold; " if gone > 0 else ""
    named = f"{counted(reasons, 'finding')} named in {out / 'repair.json'}"
    print(f"lost: {lost}{named}" if reasons else "lost: nothing")
    about = open_run(out).metadata
    if done["resume_slots"]:
        print(f"it can be resumed: {how_to_resume(out, about)}")
    own = shown(about.get("task"), 200)
    print(f"next: devi analyze {quoted(out)}{f' --task {quoted(own)}' if ':' in own else ''}")
