"""devi show: what is in a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def show(
    run: Annotated[Path, Argument(help="Directory of a run")],
    as_json: Annotated[bool, Option("--json", help="Print one JSON document and nothing else")] = False,
) -> None:
    """What is in a run: task, settings, steps, parameters, size, damage.

    Example: devi show checkpoints/superposition-seed0
    """
    from devi.checkpoints.reader import open_run

    found = open_run(run)
    size = sum(path.stat().st_size for path in run.iterdir() if path.is_file())
    steps = {"first": int(found.steps[0]), "last": int(found.steps[-1]), "count": len(found)}
    summary = {
        "run": str(run),
        "steps": steps,
        "parameters": {
            name: {"shape": list(shape), "dtype": found.parameter_dtypes[name]}
            for name, shape in found.parameter_shapes.items()
        },
        "parameter_count": found.parameter_count,
        "bytes": size,
        "is_live": found.is_live,
        "problems": list(found.problems),
        "metadata": found.metadata,
    }
    if as_json:
        print(json.dumps(summary, default=str))
        return
    print(f"{run}: {steps['count']} checkpoints, steps {steps['first']:,} to {steps['last']:,}, {size:,} bytes on disk")
    print(f"still being written: {'yes' if found.is_live else 'no'}")
    for name, shape in found.parameter_shapes.items():
        print(f"  {name}  {'×'.join(map(str, shape)) or 'one number'}  {found.parameter_dtypes[name]}")
    print(f"  {found.parameter_count:,} parameters")
    for key, value in found.metadata.items():
        print(f"{key}: {json.dumps(value, default=str) if isinstance(value, dict | list) else value}")
    for problem in found.problems:
        print(f"damage: {problem}")
