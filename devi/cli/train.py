"""devi train: a task in, a run of dense checkpoints out."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from devi.cli.answer import print_document
from devi.errors import DeviError, counted, quoted

if TYPE_CHECKING:
    from devi.seeds import Wanted

MOST_SEEDS = 10_000  # of one command: a list of a number mistyped would fill the memory
SEEDS = re.compile(r"(\d{1,18}):(\d{1,18})", re.ASCII)


def train(
    task: Annotated[str, Argument(help="superposition, modular_addition, or your own: file.py:Name, pkg.mod:Name")],
    preset: Annotated[str | None, Option(help="A named group of settings; see: devi tasks")] = None,
    out: Annotated[Path | None, Option(help="Directory of the run  [default: checkpoints/TASK-seedN]")] = None,
    seed: Annotated[int | None, Option(help="Seed of model, data and their order")] = None,
    seeds: Annotated[
        str | None, Option(metavar="A:B", help="Seeds A to B-1, a run each, all trained at once where possible")
    ] = None,
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

    Ctrl-C and kill -9 lose nothing that was committed. Runs made with --seeds are like any other: each can be resumed
    alone, with --seed, or all of them together.

    Example: devi train superposition --seed 1 --set features=5
    """
    from devi.cli.progress import progress
    from devi.cli.settings import read_settings
    from devi.optimizers import check_taken
    from devi.plan import planned, resumed_settings
    from devi.plugins import builtin_task, load, name_of
    from devi.seeds import Wanted, train_seeds

    cls = load("task", task)
    given = read_settings(config, set_ or [])
    typed = read_settings(None, set_ or [])
    named = {"seed": seed, "steps": steps, "checkpoints": checkpoints}
    for key, value in named.items():
        if value is not None and str(typed.get(key, value)) != str(value):
            raise DeviError(f"--{key} {value} and --set {key}={typed[key]} differ; give one of them.")
        if value is not None:
            given[key] = value
    short = name_of("task", cls)
    folder = f"{short}{f'-{preset}' if preset else ''}-seed"
    if seeds is None:
        places = [(given, out or Path("checkpoints") / f"{folder}{given.get('seed', getattr(cls, 'seed', 0))}")]
    elif out is not None or seed is not None or "seed" in typed:
        raise DeviError(
            f"--seeds {seeds} makes a run of each seed, checkpoints/{folder}N, so {'--out' if out else 'a single seed'}"
            f" does not go with it. Leave one of them out: --seeds {seeds}, or --seed N --out DIR"
        )
    else:
        places = [({**given, "seed": each}, Path("checkpoints") / f"{folder}{each}") for each in seed_range(seeds)]
    begun = [place for _, place in places if place.is_dir() and any(place.iterdir())]  # a lock, if killed very early
    if resume and not begun:
        again = {"preset": preset, "out": out, **named, "seeds": seeds, "set": set_, "config": config, "device": device}
        raise DeviError(
            f"{places[0][1]}: there is no run to go on with{' of any of these seeds' if seeds else ''}, and --resume"
            f" begins none. For a new one, the same without it: {_command(task, again)}"
        )
    if seeds is not None and not resume:
        _check_free(seeds, folder, [place for _, place in places])
    wanted = []
    for settings, place in places:
        if resume:
            settings = resumed_settings(place, cls, settings, preset=preset)
        wanted.append(Wanted(*planned(cls, settings, preset=None if resume else preset, called=task), place))
        if not resume:
            check_taken(wanted[-1].task, wanted[-1].plan, given)
    _check_alike(wanted, begun)
    with progress() as shown:
        if resume and len(begun) < len(places):
            new = [place.name for _, place in places if place not in begun]
            shown.note(f"{len(new)} of {len(places)} seeds have no run yet and begin one: {', '.join(new)}.")
        runs = train_seeds(
            wanted,
            name=short if task == short else task,
            resume=resume,
            device=device,
            progress=shown.count(f"train {short}" if seeds is None else f"train {short}, seeds {seeds}", "steps"),
            notice=shown.note,
        )
    lasts = [{str(name): float(values[-1]) for name, values in run.scalars.data_vars.items()} for run in runs]
    if as_json:
        documents = [
            {"run": str(each.path), "checkpoints": len(run), "steps": each.plan.steps, "last": last}
            for each, run, last in zip(wanted, runs, lasts, strict=True)
        ]
        print_document(json.dumps(documents[0] if seeds is None else {"runs": documents}))
        return
    for each, run, last in zip(wanted, runs, lasts, strict=True):
        print(f"{each.path}: {counted(len(run), 'checkpoint')}, steps {run.steps[0]:,} to {run.steps[-1]:,}")
        print("at the end: " + ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in last.items()))
    several = wanted[0].path if len(wanted) == 1 else wanted[0].path.parent  # a folder of runs is analyzed run by run
    print(shlex.join(["next:", "devi", "analyze", str(several), *([] if builtin_task(task) else ["--task", task])]))


def _command(task: str, given: dict[str, Any]) -> str:
    """The line that gives these options."""
    words = ["devi", "train", task]
    for name, value in given.items():
        for each in value if isinstance(value, list) else [value]:
            words += [] if each is None or (name, each) == ("device", "cpu") else [f"--{name}", str(each)]
    return shlex.join(words)


def _check_free(seeds: str, folder: str, places: list[Path]) -> None:
    """Raises DeviError if a seed's place is taken, with seeds whose places are free."""
    from devi.checkpoints.folder import holds_run

    taken = [place for place in places if holds_run(place)]
    if not taken:
        return
    first = seed_range(seeds).start
    while any(holds_run(places[0].with_name(f"{folder}{first + offset}")) for offset in range(len(places))):
        first += 1
    more = f", and {len(taken) - 1} more of these seeds have one" if len(taken) > 1 else ""
    raise DeviError(
        f"--seeds {seeds}: {taken[0]} already holds a run{more}. Seeds that are free: --seeds"
        f" {first}:{first + len(places)}. To go on with runs of the same settings, and begin those that are not there"
        " yet: --resume"
    )


def _check_alike(wanted: list[Wanted], begun: list[Path]) -> None:
    """Raises DeviError if seeds would begin with other settings than the runs have that they are resumed beside."""
    from devi.task import settings_of

    settings = {path: settings_of(task) | settings_of(plan) for task, plan, path in wanted}
    new = next((path for path in settings if path not in begun), None)
    if new is None:
        return
    for path in begun:
        had = settings[path]
        differing = [key for key, value in settings[new].items() if key != "seed" and had.get(key) != value]
        if differing:
            told = ", ".join(f"{key}={had.get(key)} (here {settings[new][key]})" for key in differing)
            values = {key: had.get(key) for key in differing}
            words = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]
            raise DeviError(
                f"{path} was made with {told}, and {new.name} would begin with other settings than the runs beside it."
                f" Nothing was written. Give them too: {' '.join(f'--set {quoted(word)}' for word in words)}; or other"
                " --seeds."
            )


def seed_range(text: str) -> range:
    """The seeds of 'A:B', A to B-1. Raises DeviError if there is none, or more than anyone has room for."""
    found = SEEDS.fullmatch(text)
    first, end = map(int, found.groups()) if found else (0, 0)
    if end - first > MOST_SEEDS:
        raise DeviError(
            f"--seeds {text} makes {end - first:,} runs. Expected at most {MOST_SEEDS:,} at a time, e.g. --seeds"
            f" {first}:{first + MOST_SEEDS}"
        )
    if first < end:
        return range(first, end)
    raise DeviError(
        f"--seeds '{text}' names no seeds. Expected A:B with whole numbers and A below B, which means A to B-1,"
        " e.g. --seeds 0:16"
    )
