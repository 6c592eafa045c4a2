"""devi analyze: runs in, a report each out."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from devi.cli.answer import print_document
from devi.cli.exit_codes import Exit as Code
from devi.cli.places import claim, found_runs, output_places, unclaim
from devi.errors import DeviError, counted, quoted

if TYPE_CHECKING:
    from devi.analysis import Analysis
    from devi.checkpoints.reader import Run
    from devi.cli.progress import Progress


def analyze(
    runs: Annotated[
        list[Path],
        Argument(metavar="RUN...", help="Directories of runs, or a folder of them; or of other programs' checkpoints"),
    ],
    out: Annotated[Path | None, Option(help="Output directory  [default: reports/RUN]")] = None,
    task: Annotated[
        str | None,
        Option(
            help="The run's task, if it is your own: file.py:Name, pkg.mod:Name; of several runs, that of those which"
            " name no built-in one"
        ),
    ] = None,
    metric: Annotated[
        list[str] | None, Option(help="A further metric: name, file.py:Name, pkg.mod:Name; repeatable")
    ] = None,
    set_: Annotated[
        list[str] | None, Option("--set", metavar="METRIC.KEY=VALUE", help="Any setting of a metric")
    ] = None,
    config: Annotated[Path | None, Option(help="TOML file with a table of settings per metric")] = None,
    sampler: Annotated[
        str | None, Option(help="Of the learning coefficient: sgld, psgld, mala, hmc, devinterp  [default: sgld]")
    ] = None,
    chains: Annotated[int | None, Option(help="Chains per checkpoint")] = None,
    draws: Annotated[int | None, Option(help="Draws kept per chain")] = None,
    step_size: Annotated[float | None, Option(help="Sampler step size  [default: calibrated]")] = None,
    n_beta: Annotated[float | None, Option(help="n·β  [default: n / log n]")] = None,
    localization: Annotated[float | None, Option(help="γ, pull towards the checkpoint  [default: calibrated]")] = None,
    batch_size: Annotated[int | None, Option(help="Examples per sampler step; 0 is all")] = None,
    burn_in: Annotated[
        int | None, Option(help="Draws dropped at the start of each chain  [default: calibrated]")
    ] = None,
    budget: Annotated[
        str | None, Option(help="Time for calibration and sampling: 60s, 5m, 1h  [default: by the work]")
    ] = None,
    restrict: Annotated[
        list[str] | None,
        Option(
            metavar="PATTERN",
            help="Also the coefficient of only these parameters: 'blocks.0.*', one head as 'blocks.0.query[2]', several"
            " together as 'blocks.0.query[2]+blocks.0.key[2]'; repeatable",
        ),
    ] = None,
    sample_on: Annotated[
        str | None,
        Option(
            help="Data to sample with: train, test, or file.py:function, which takes no argument and returns a"
            " devi.Batch(inputs, targets)  [default: train]"
        ),
    ] = None,
    observe: Annotated[
        list[str] | None, Option(help="Data whose loss is followed along the chains, named likewise; repeatable")
    ] = None,
    keep_losses: Annotated[
        int | None, Option(help="Draws of each chain whose loss of every example is kept in analysis.h5")
    ] = None,
    dtype: Annotated[str | None, Option(help="Precision of sampling: float32, float64  [default: float32]")] = None,
    compile_: Annotated[
        bool,
        Option(
            "--compile", help="Compile the gradient that is sampled with: for jobs of minutes; needs a C++ compiler"
        ),
    ] = False,
    keep_masks: Annotated[bool, Option("--keep-masks", help="Keep the lottery-ticket masks, bit-packed")] = False,
    operating_point: Annotated[
        str, Option(help="strict, or exploratory: more transitions, more false alarms")
    ] = "strict",
    device: Annotated[str | None, Option(help="cpu, cuda, cuda:1, mps  [default: cpu]")] = None,
    workers: Annotated[int, Option(help="Processes to work in")] = 1,
    memory: Annotated[
        str | None, Option(help="Memory for all workers: 512M, 4G  [default: half of what is free]")
    ] = None,
    strict: Annotated[
        bool,
        Option(
            "--strict",
            help="Exit with code 3 if an estimate is flagged, by more than headroom or unresolved, which"
            " are information: the chains are sound",
        ),
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON document and nothing else")] = False,
) -> None:
    """Estimate learning coefficients, follow the metrics, find the transitions, write a report.

    Takes up where it stopped. Given a folder of runs: each of them, and an index page. Given what devi convert reads
    (a folder of .pt files, say) and --task: converts it first, into a cache.

    Example: devi analyze checkpoints/superposition-seed0
    """
    from devi.cli.progress import progress
    from devi.cli.settings import by_metric, read_settings

    settings = by_metric(read_settings(config, set_ or [], example="tickets.kept_fraction = 0.3"))
    sampling = {
        "sampler": sampler, "chains": chains, "draws": draws, "step_size": step_size, "n_beta": n_beta,
        "localization": localization, "batch_size": batch_size, "burn_in": burn_in, "budget": budget,
        "restrict": restrict or None, "sample_on": sample_on, "observe": observe or None, "keep_losses": keep_losses,
        "dtype": dtype, "compile": compile_ or None,
    }  # fmt: skip
    sampling = {key: value for key, value in sampling.items() if value is not None}
    if sampling:
        settings["llc"] = {**settings.get("llc", {}), **sampling}
    if keep_masks:
        settings["tickets"] = {**settings.get("tickets", {}), "keep_masks": True}
    found = found_runs(runs)
    places = output_places(found, out)
    analyses, failed = [], []
    with progress() as shown:
        for path, place in zip(found, places, strict=True):
            if len(found) > 1:
                shown.note(f"{path} → {place}")
            try:
                analysis = report_on(
                    path, place, task=task, is_alone=len(found) == 1, metrics=metric or [], settings=settings,
                    device=device, operating_point=operating_point, workers=workers, memory=memory, shown=shown,
                )  # fmt: skip
            except DeviError as error:
                unclaim(place)
                if len(found) == 1:
                    raise
                told = " ".join(str(error).split())
                failed.append(told if told.startswith(str(path)) else f"{path}: {told}")
                continue
            analyses.append((analysis, path, place))
    done = [summary(*each) for each in analyses]
    if len(found) > 1:
        from devi import report

        index = report.write_index(
            [(analysis, place) for analysis, _, place in analyses], out or Path("reports"), failed=failed
        )
    if as_json:
        print_document(json.dumps({"runs": done, "failed": failed}))
    else:
        for entry in done:
            print_summary(entry)
        if len(found) > 1:
            print(f"all runs: {index}")
    if failed:
        raise DeviError("\n".join([f"{len(failed)} of {len(found)} runs could not be analyzed:", *failed]))
    if strict and any(entry["unhealthy"] for entry in done):
        raise Exit(Code.UNHEALTHY)


def report_on(
    path: Path,
    place: Path,
    *,
    shown: Progress,
    task: str | None = None,
    is_alone: bool = True,
    metrics: list[str] | None = None,
    settings: dict[str, dict[str, Any]] | None = None,
    device: str | None = None,
    operating_point: str = "strict",
    workers: int = 1,
    memory: str | None = None,
) -> Analysis:
    """Analyze the run at `path` into directory `place`.

    is_alone  False: among other runs, of which `task` is for those that name it or no built-in one
    """
    from devi import report
    from devi.analysis import analyze as analyze_run
    from devi.checkpoints.foreign.cache import source_id
    from devi.checkpoints.foreign.listing import is_foreign
    from devi.checkpoints.reader import open_run
    from devi.cli.convert import converted_run
    from devi.devices import device_of
    from devi.executors import executor_for
    from devi.memory import memory_bytes
    from devi.plugins import load

    device_of(device or "cpu")
    if is_foreign(path):
        run = open_run(converted_run(path, task, shown), load("task", str(task)))
        claim(place, source_id(path), path)
    else:
        given = load("task", task) if task else None
        run = open_run(path, given)
        if given is not None and not is_alone and _has_another(run, given):
            run = open_run(path)
        claim(place, str(run.metadata.get("run_id", run.path.resolve())), path)
    analysis = analyze_run(
        run,
        metrics=metrics or [],
        settings=settings,
        device=device,
        memory=memory_bytes(memory, device),
        cache=place / "cache",
        executor=executor_for(workers),
        operating_point=operating_point,
        progress=lambda what, share: shown.tell(f"{run.name}: {what}", share),
        note=lambda sentence: shown.note(f"{run.name}: {sentence}"),
    )
    analysis.command = (
        shlex.join(["devi", *sys.argv[1:]]) if sys.argv[1:2] == ["analyze"] else f"devi analyze {quoted(path)}"
    )
    analysis.save(place)
    shown.tell(f"{run.name}: report", 0.0)
    report.write(analysis, place)
    shown.tell(f"{run.name}: report", 1.0)
    return analysis


def _has_another(run: Run, task: type) -> bool:
    """Whether the run names a built-in task, and not this one."""
    from devi.plugins import builtin_task, name_of

    stored = run.metadata.get("task")
    return isinstance(stored, str) and stored != name_of("task", task) and builtin_task(stored) is not None


def summary(analysis: Analysis, path: Path, place: Path) -> dict[str, Any]:
    """What the command prints of one run, and the index page lists."""
    from devi.report.sentences import gradients_taken

    return {
        "run": str(path),
        "report": str(place / "report.html"),
        "task": analysis.run["task"],
        "seed": analysis.run["seed"],
        "checkpoints": analysis.run["analyzed"],
        "transitions": [transition.to_json() for transition in analysis.transitions],
        "unhealthy": len(analysis.unhealthy),
        "gradients": gradients_taken(analysis.trajectories),
        "notices": analysis.notices,
    }


def print_summary(entry: dict[str, Any]) -> None:
    from devi.transitions.transition import GUESSED

    transitions = counted(len(entry["transitions"]), "transition")
    print(f"{entry['run']}: {counted(entry['checkpoints'], 'checkpoint')}, {transitions}")
    for notice in entry["notices"]:
        print(f"  notice: {notice}")
    for transition in entry["transitions"]:
        print(f"  {transition['id']}  {transition['description']} (confidence {transition['confidence']:.2f})")
        if not transition["resolvable"]:
            print(f"      {GUESSED}")
    if entry["unhealthy"]:
        print(f"  llc: {entry['unhealthy']} of {entry['checkpoints']} estimates are unhealthy; the report says why")
    print(f"  report: {entry['report']}")
