"""devi detect: the transitions in a table of curves, from whatever program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from devi.cli.answer import print_document
from devi.cli.declarations import declare, interventions, pair
from devi.errors import DeviError, counted, shown, unknown_name

if TYPE_CHECKING:
    from devi.tables.table import Table
    from devi.transitions.transition import Detection

MOST_NAMES = 12  # of metrics in a line


def detect(
    file: Annotated[Path, Argument(help="CSV, TSV, JSON, JSONL, NPZ or netCDF: steps and one quantity a column")],
    step: Annotated[str | None, Option(help="Column of the optimizer steps  [default: step, _step, …]")] = None,
    metrics: Annotated[
        list[str] | None, Option(help="Only this column; repeatable, or several with commas between")
    ] = None,
    se: Annotated[
        list[str] | None,
        Option(
            metavar="METRIC=COLUMN", help="Standard error of a metric, where it is not called METRIC_se; repeatable"
        ),
    ] = None,
    units: Annotated[
        list[str] | None,
        Option(metavar="METRIC=UNIT", help="nats, accuracy: changes below 0.02 of it are immaterial; repeatable"),
    ] = None,
    bounds: Annotated[
        list[str] | None,
        Option(
            metavar="METRIC=LOW,HIGH", help="Values that a metric cannot leave: arriving there is no event; repeatable"
        ),
    ] = None,
    monotone: Annotated[
        list[str] | None,
        Option(
            metavar="METRIC=up|down", help="A metric that only rises, or only falls: no event the other way; repeatable"
        ),
    ] = None,
    material: Annotated[
        list[str] | None,
        Option(metavar="METRIC=SIZE", help="A smaller change of the metric, in its unit, is none; repeatable"),
    ] = None,
    exogenous: Annotated[
        list[str] | None,
        Option(metavar="STEP:LABEL", help="Something done to the run from outside, such as lr/10; repeatable"),
    ] = None,
    operating_point: Annotated[
        str, Option(help="strict, or exploratory: more transitions, more false alarms")
    ] = "strict",
    plot: Annotated[Path | None, Option(metavar="OUT.png", help="Draw the curves with their transitions")] = None,
    evidence: Annotated[
        Path | None,
        Option(metavar="DIR", help="Draw the data, the best fits with and without the change, and what each leaves"),
    ] = None,
    follow: Annotated[
        bool, Option("--follow", help="Go on while the file grows; tell each transition once it is certain")
    ] = False,
    patience: Annotated[
        float | None, Option(metavar="SECONDS", help="Of --follow: stop when the file has not grown for so long")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON document and nothing else")] = False,
) -> None:
    """Find the transitions in the curves of a file, whatever program wrote it.

    One row a checkpoint, a column called step, one quantity a column; NAME_se beside NAME is its standard error.
    Exports of Weights & Biases and TensorBoard, Lightning's metrics.csv and trainer_state.json are read as they come.

    Example: devi detect metrics.csv --exogenous 5000:lr/10 --plot curves.png
    """
    from devi.cli.progress import progress
    from devi.report.document import document
    from devi.tables.table import read_table
    from devi.transitions.contradicted import contradictions
    from devi.transitions.fusion import OPERATING_POINTS
    from devi.transitions.fusion import detect as search

    outside = interventions(exogenous or [])
    declared = {"se": se, "units": units, "bounds": bounds, "monotone": monotone, "material": material}
    pairs = {option: dict(pair(text, option) for text in given or []) for option, given in declared.items()}
    _agree(file, follow=follow, patience=patience, drawn=plot is not None or evidence is not None)
    if operating_point not in OPERATING_POINTS:  # now, not once the file has rows
        raise unknown_name("operating point", operating_point, OPERATING_POINTS)
    if follow:
        from devi.cli.follow import follow as follow_file

        def read() -> Table:
            growing = read_table(file, step=step, metrics=metrics or [], errors=pairs["se"], growing=True)
            known: dict[str, dict[str, str]] = {option: {} for option in pairs}
            for option, own in pairs.items():
                for name, text in own.items():
                    if growing.own_name(name) in growing.trajectories:
                        known[option][name] = text
                    elif growing.trajectories.sizes["step"]:  # it may come
                        there = ", ".join(map(str, quantities(growing)))
                        growing.notices.append(
                            f"--{option} {name}={text}: there is no column {name} yet; only {there}."
                        )
            return declare(growing, known, file)

        follow_file(file, read, operating_point=operating_point, exogenous=outside, as_json=as_json, patience=patience)
        return
    table = declare(read_table(file, step=step, metrics=metrics or [], errors=pairs["se"]), pairs, file)
    with progress() as bars:
        for notice in (*table.notices, *contradictions(table.trajectories, outside)):
            bars.note(shown(notice, 4000))
        found = search(
            table.trajectories, operating_point=operating_point, exogenous=outside,
            progress=lambda share: bars.tell(f"{file.name}: transitions", share),
        )  # fmt: skip
        for notice in found.notices:
            bars.note(shown(notice, 4000))
    unsearched = [(one.metric, one.reason) for one in found.skipped]
    if len(unsearched) == len(quantities(table)):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in unsearched)
        raise DeviError(f"no column of {file} can be searched ({reasons}).")
    skipped = [*table.left_out.items(), *unsearched]
    try:
        files, missing = drawn(table, found, plot, evidence)
    except OSError as error:
        is_file = isinstance(error, FileExistsError | NotADirectoryError)
        why = "a file stands where a directory is needed" if is_file else error.strerror
        raise DeviError(
            f"{error.filename or 'writing a figure'}: {why}. Give another place with --plot or --evidence."
        ) from None
    if as_json:
        stated = {"declared": {option: own for option, own in pairs.items() if own}}
        made = document(
            {"name": file.stem, "path": str(file)}, table.trajectories["step"].values, transitions=found.transitions,
            stages=found.stages, left_out=skipped, settings={"transitions": {**found.settings, **stated}},
        )  # fmt: skip
        print_document(json.dumps(made, ensure_ascii=False, allow_nan=False))
        return
    print("\n".join(lines(file, table, found, skipped)))
    for path in files:
        more = (
            f" ({missing} more panels are not drawn; to choose some: --metrics NAME)"
            if missing and path == plot
            else ""
        )
        print(f"figure: {path}{more}")


def _agree(file: Path, *, follow: bool, patience: float | None, drawn: bool) -> None:
    """Raises DeviError for options that say nothing together."""
    if follow and drawn:
        raise DeviError(
            f"--follow tells transitions as they come and draws none; expected no --plot or --evidence with it. Once"
            f" {file.name} is whole: devi detect {file} --plot curves.png"
        )
    if patience is not None and not follow:
        raise DeviError(f"--patience {patience:g} says how long to wait for a file to grow; it needs --follow.")
    if patience is not None and not 0 <= patience < float("inf"):
        raise DeviError(f"--patience {patience:g} is no time to wait; expected seconds, 0 or more: --patience 60")


def lines(file: Path, table: Table, found: Detection, skipped: list[tuple[str, str]]) -> list[str]:
    """What is printed: how much was searched, each transition with its confidence and dates, what was not searched."""
    from devi.transitions.transition import GUESSED
    from devi.transitions.words import step_text

    steps = table.trajectories["step"].values
    curves = len(quantities(table)) - len(found.skipped)
    count = len(found.transitions)
    result = [
        f"{file}: {counted(len(steps), 'checkpoint')}, steps {steps[0]:,.10g} to {steps[-1]:,.10g},"
        f" {counted(curves, 'metric')}, {counted(count, 'transition')} ({found.settings['operating_point']})"
    ]
    for one in found.transitions:
        result.append(f"  {one.id}  {one.description}")
        midpoint, low, high = (step_text(date, steps) for date in (one.midpoint, *one.intervals["midpoint"]))
        dated = f"midpoint {midpoint}, 90% interval {low} to {high}"
        result.append(f"      {one.type}, confidence {one.confidence:.2f}, {dated}")
        if one.exogenous:
            result.append(f"      coincides with what was declared: {one.exogenous}")
        if not one.resolvable:
            result.append(f"      {GUESSED}")
        if one.against:
            result.append(f"      no change of its own found in: {_shortened(one.against)}")
    result += [f"  left out: {name} ({reason})" for name, reason in skipped]
    return [shown(line, 4000) for line in result]  # a stranger's column may be called what steers a terminal


def drawn(table: Table, found: Detection, plot: Path | None, evidence: Path | None) -> tuple[list[Path], int]:
    """The figures that were asked for, and how many panels had no place."""
    if plot is None and evidence is None:
        return [], 0
    from devi.report.canvas import save_as
    from devi.report.evidence_figure import evidence as evidence_of
    from devi.report.figures import everything, left_out
    from devi.transitions.means import averaged

    searched, _ = averaged(table.trajectories)  # a million points in a picture are a bar, and in an SVG 100 MB
    outside = {float(step): label for step, label in found.settings["exogenous"].items()}
    files = []
    if plot is not None:
        files.append(save_as(everything(searched, found.transitions, exogenous=outside), plot))
    for one in found.transitions if evidence is not None else []:
        files.append(save_as(evidence_of(found.evidence[one.id], one), Path(evidence or ".") / f"{one.id}.png"))
    return files, 0 if plot is None else left_out(searched, found.transitions)


def quantities(table: Table) -> list[str]:
    """The variables that are no standard errors of others."""
    names = [str(name) for name in table.trajectories.data_vars]
    return [name for name in names if not (name.endswith("_se") and name[:-3] in names)]


def _shortened(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:MOST_NAMES])}, … and {more} more"
