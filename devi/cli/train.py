"""devi train: a task in, a run of dense checkpoints out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from devi.errors import DeviError


def train(
    task: Annotated[str, Argument(help="superposition, modular_addition, or your own: file.py:Name, pkg.mod:Name")],
    preset: Annotated[str | None, Option(help="A named group of settings; see: devi tasks")] = None,
    out: Annotated[Path | None, Option(help="Directory of the run  [default: checkpoints/TASK-seedN]")] = None,
    seed: Annotated[int | None, Option(help="Seed of model, data and their order")] = None,
    steps: Annotated[int | None, Option(help="Optimizer steps")] = None,
    checkpoints: Annotated[
        str | None, Option(help="log:200, every:10, steps like 0,10,100, or a FILE of steps")
    ] = None,
    set_: Annotated[
        list[str] | None, Option("--set", metavar="KEY=VALUE", help="Any setting of the task; repeatable")
    ] = None,
    config: Annotated[Path | None, Option(help="TOML file of settings; --set wins over it")] = None,
    resume: Annotated[bool, Option("--resume", help="Go on where a stopped run was, bit for bit")] = False,
    device: Annotated[str, Option(help="cpu, cuda, cuda:1, mps")] = "cpu",
    as_json: Annotated[bool, Option("--json", help="Print one JSON document and nothing else")] = False,
) -> None:
    """Train a task and keep dense checkpoints.

    Ctrl-C and kill -9 lose nothing that was committed.

    Example: devi train superposition --seed 1 --set features=5
    """
    from devi.cli.progress import progress
    from devi.cli.settings import read_settings
    from devi.plan import planned, resumed_settings
    from devi.plugins import load, name_of
    from devi.training import train as train_run

    cls = load("task", task)
    given = read_settings(config, set_ or [])
    named = {"seed": seed, "steps": steps, "checkpoints": checkpoints}
    for key, value in named.items():
        if value is not None and str(given.get(key, value)) != str(value):
            raise DeviError(f"--{key} {value} and --set {key}={given[key]} differ; give one of them.")
        if value is not None:
            given[key] = value
    short = name_of("task", cls)
    if out is None:
        wanted = given.get("seed", getattr(cls, "seed", 0))
        out = Path("checkpoints") / f"{short}{f'-{preset}' if preset else ''}-seed{wanted}"
    if resume:
        given = resumed_settings(out, cls, given, preset=preset)
        preset = None
    chosen, plan = planned(cls, given, preset=preset, called=task)
    with progress() as shown:
        run = train_run(
            chosen,
            out,
            plan=plan,
            name=short if task == short else task,
            resume=resume,
            device=device,
            progress=shown.count(f"train {short}", "steps"),
            notice=shown.note,
        )
    last = {str(name): float(values[-1]) for name, values in run.scalars.data_vars.items()}
    if as_json:
        print(json.dumps({"run": str(out), "checkpoints": len(run), "steps": plan.steps, "last": last}))
        return
    print(f"{out}: {len(run)} checkpoints, steps {run.steps[0]:,} to {run.steps[-1]:,}")
    print("at the end: " + ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in last.items()))
    print(f"next: devi analyze {out}" + ("" if task == short else f" --task {task}"))
