"""devi calibrate: which sampler settings suit a run, and why."""

from __future__ import annotations

import json
import math
import shlex
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from devi.cli.answer import print_document
from devi.errors import DeviError, counted

if TYPE_CHECKING:
    import xarray as xr

    from devi.sampling.settings import Settings

WIDTH = 80
OPTIONS = {  # each with a value that suits many runs, for messages
    "chains": 4, "draws": 1000, "burn_in": 1000, "step_size": 0.001, "n_beta": 100, "localization": 1, "batch_size": 0,
}  # fmt: skip
ORDER = ("n_beta", "step_size", "localization", "batch_size", "chains", "burn_in", "draws")
COLUMNS = {  # of what was tried -> its heading
    "n_beta": "nβ", "step_size": "step size", "localization": "γ", "acceptance": "acceptance",
    "virial": "virial, measured", "virial_excess": "heat of the step", "step_bias_share": "step's share of λ̂",
    "escaped": "escaped", "estimate_at_last": "λ̂ at last", "error_at_last": "error", "passes": "passes",
}  # fmt: skip
MOST_TRIED = 20  # rows: a screen holds them


def calibrate(
    run: Annotated[Path, Argument(help="Directory of a run")],
    sampler: Annotated[
        str | None, Option(help="sgld, psgld, mala, hmc or devinterp  [default: that of analyze]")
    ] = None,
    task: Annotated[str | None, Option(help="The run's task, if it is your own: file.py:Name, pkg.mod:Name")] = None,
    set_: Annotated[
        list[str] | None, Option("--set", metavar="KEY=VALUE", help="A sampler setting to keep as it is; repeatable")
    ] = None,
    seed: Annotated[int, Option(help="Of the chains")] = 0,
    device: Annotated[str | None, Option(help="cpu, cuda, cuda:1, mps  [default: cpu]")] = None,
    memory: Annotated[str | None, Option(help="Memory to work in: 512M, 4G  [default: half of what is free]")] = None,
    out: Annotated[Path | None, Option(help="Where the figure goes  [default: reports/RUN-calibration]")] = None,
    plot: Annotated[bool, Option("--plot/--no-plot", " /--no-figure", help="Draw λ̂ over step size and nβ")] = True,
    everything: Annotated[bool, Option("--all", help="Every setting that was tried, however many")] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON document and nothing else")] = False,
) -> None:
    """Choose sampler settings for a run, say why, and draw where the estimate is flat around them.

    devi analyze chooses the same ones by itself; this shows what it tried. The figure takes longer than the choice.

    Example: devi calibrate checkpoints/superposition-seed0
    """
    from devi.checkpoints.reader import open_run
    from devi.cli.progress import progress
    from devi.devices import device_of
    from devi.memory import fitting, limited, memory_bytes
    from devi.metrics.learning_coefficient import LearningCoefficient
    from devi.plugins import load
    from devi.sampling.calibration import calibrate as choose
    from devi.task import with_settings

    where = device_of(device or "cpu")
    sampler = sampler or LearningCoefficient.sampler
    given = sampler_settings(set_ or [])
    # Refuses what analyze would.
    asked = {"sampler": sampler, "seed": seed, "device": str(where), **given}
    metric = with_settings(LearningCoefficient, asked, kind="metric", called="llc")
    opened = open_run(run, load("task", task) if task else None)
    swept, files = None, []
    remedy = "Expected room for a few checkpoints and their chains: close other programs, or type --set chains=2"
    room = limited(memory_bytes(memory, str(where)))
    with progress() as shown, room, fitting(f"{run}: choosing settings", remedy):
        shown.tell(f"{opened.name}: settings", 0.0)
        if preparation := metric.preparation(opened):
            shown.note(f"{opened.name}: {preparation}")
        settings = choose(
            opened, sampler=sampler, seed=seed, device=where,
            progress=lambda share: shown.tell(f"{opened.name}: settings", share), **given,
        )  # fmt: skip
        if plot:
            from devi.report.canvas import save
            from devi.report.sweep_figure import sweep_figure
            from devi.sampling.sweep import sweep

            place = out or Path("reports") / f"{opened.name}-calibration"
            place.mkdir(parents=True, exist_ok=True)
            swept = sweep(
                opened, settings, seed=seed, device=where,
                progress=lambda share: shown.tell(f"{opened.name}: sweep", share),
            )  # fmt: skip
            files = save(sweep_figure(swept), place / "sweep")
    command = analyze_command(run, settings, seed, task, device)
    if as_json:
        document = {
            "run": str(run), "seed": seed, "settings": settings.as_dict(), "sweep": swept and rows_of(swept),
            "figures": [str(path) for path in files], "analyze": command,
        }  # fmt: skip
        print_document(json.dumps(_finite(document), ensure_ascii=False))
        return
    lines = [f"{run}: settings of {settings.sampler} for {counted(len(opened), 'checkpoint')}", "", *chosen(settings)]
    lines += ["", *tried(settings, None if everything else MOST_TRIED)]
    if swept is not None:
        lines += ["", *flatness(swept), *(f"figure: {path}" for path in files)]
    lines += ["", "the analysis with these settings fixed by hand, which asks again whether it is resolved:"]
    print("\n".join([*lines, f"  {command}"]))


def sampler_settings(assignments: list[str]) -> dict[str, Any]:
    """`--set KEY=VALUE` of the sampler as numbers. Raises DeviError for what is no setting or no number."""
    from devi.cli.settings import read_settings
    from devi.errors import unknown_name

    found: dict[str, Any] = {}
    for key, text in read_settings(None, assignments, example="n_beta = 100").items():
        name = key.removeprefix("llc.")
        if name not in OPTIONS:
            raise unknown_name("sampler setting", name, OPTIONS)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DeviError(
                f"--set {key}={text}: {text!r} is no finite number. Try: --set {key}={OPTIONS[name]}; or leave it out"
                " to have it chosen from the run."
            )
        if name in ("chains", "draws", "burn_in", "batch_size"):
            if not value.is_integer():
                raise DeviError(f"--set {key}={text}: {name} counts something. Try: --set {key}={value:.0f}")
            value = int(value)
        found[name] = value
    return found


def chosen(settings: Settings) -> list[str]:
    """Each setting, its value, and why; then how far the estimate moves."""
    rows = [(name, getattr(settings, name), settings.reasons.get(name, "")) for name in ORDER]
    told: list[str] = []
    for name, value, why in rows:
        label = f"  {name:<13} {_number(value):>9}  "
        told += textwrap.wrap(why or "-", WIDTH, initial_indent=label, subsequent_indent=" " * len(label))
    for name, what, found in (
        ("resolved?", "", settings.reasons.get("unresolved", "")),
        ("cost of this", "", settings.reasons.get("calibration", "")),
        ("drift", "the last rise of nβ moved the estimate by ", _by_step(settings.drift)),
    ):
        if found:
            label = f"  {name:<13} {'':>9}  "
            told += textwrap.wrap(what + found, WIDTH, initial_indent=label, subsequent_indent=" " * len(label))
    return told


def tried(settings: Settings, most: int | None) -> list[str]:
    """What was tried, one line each: those nearest to the chosen step size where there are too many for a screen."""
    if not settings.tried:
        return ["tried: nothing, the step size was given"]
    rows = settings.tried
    if most is not None and len(rows) > most:
        near = [abs(math.log((row["step_size"] or 1e-300) / (settings.step_size or 1e-300))) for row in rows]
        kept = sorted(range(len(rows)), key=near.__getitem__)[:most]
        rows = [row for place, row in enumerate(rows) if place in kept]
    names = [name for name in COLUMNS if name in rows[0]]
    cells = [[_cell(name, row[name]) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in [[COLUMNS[n] for n in names], *cells]) for column in range(len(names))]
    lines = [
        "  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
        for line in [[COLUMNS[name] for name in names], *cells]
    ]
    if len(rows) < len(settings.tried):
        lines.append(f"  and {len(settings.tried) - len(rows)} more. All of them: --all")
    # Which rung or step passes is decided by the worst checkpoint, but for hmc and mala the columns are means.
    of = "the mean" if "acceptance" in names else "the worst"
    return [f"tried, {of} of the checkpoints each:", *lines, *(_notes(settings) if "virial_excess" in names else [])]


def _notes(settings: Settings) -> list[str]:
    """What the columns of sgld and psgld say: two of them are about the virial, and γ is not the one chosen."""
    note = (
        "heat of the step: (ε/4)·E‖∇U‖²/d, what the virial V of a chain in its stationary state is above 1; it decides,"
        " for the virial measured in so short a pilot is noisy and counts what has not come to rest. Step's share of λ̂:"
        " of the estimate, what the finite step adds; it is taken off."
    )
    if len({row["localization"] for row in settings.tried}) > 1:
        note += " γ: a pilot is short and has one of its own, 1.5 / (step size × its burn-in); the chosen one is above."
    return textwrap.wrap(note, WIDTH, initial_indent="  ", subsequent_indent="  ")


def flatness(swept: xr.Dataset) -> list[str]:
    """Where the estimate stays, one line for each checkpoint."""
    told = ["flat around the chosen setting (within 5% or 2 errors, chains in equilibrium):"]
    for place, step in enumerate(swept["step"].values):
        parts = []
        for what, name in (("step_size", "step size"), ("n_beta", "nβ")):
            flat = swept[what].values[(swept["varied"].values == what) & swept["is_flat"].values[:, place]]
            parts.append(f"{name} {flat.min():.3g} to {flat.max():.3g}" if len(flat) else f"{name} nowhere")
        told.append(f"  step {int(step):>7,}: {'; '.join(parts)}")
    return told


def analyze_command(run: Path, settings: Settings, seed: int, task: str | None, device: str | None) -> str:
    """The line that analyzes the run with these settings."""
    words = ["devi", "analyze", str(run), *(["--task", task] if task else []), "--sampler", settings.sampler]
    for name in OPTIONS:
        value = getattr(settings, name)
        words += [f"--{name.replace('_', '-')}", str(value) if isinstance(value, int) else f"{value:.6g}"]
    further = {"seed": seed} if seed else {}
    if settings.most_draws != settings.draws:
        further["most_draws"] = settings.most_draws
    if settings.sampler == "hmc":
        further["leapfrog_steps"] = settings.leapfrog_steps
    for name, value in further.items():
        words += ["--set", f"llc.{name}={value}"]
    return shlex.join([*words, *(["--device", device] if device else [])])


def rows_of(swept: xr.Dataset) -> list[dict[str, Any]]:
    """One row for each setting and checkpoint of a sweep."""
    frame = swept.drop_vars("is_chosen").stack(row=("setting", "step"))
    names = [*(name for name in ("varied", "step_size", "n_beta", "localization")), *map(str, swept.data_vars)]
    columns = {"training_step": frame["step"].values, **{name: frame[name].values for name in names}}
    return [
        {
            name: values[place].item() if hasattr(values[place], "item") else values[place]
            for name, values in columns.items()
        }
        for place in range(frame.sizes["row"])
    ]


def _by_step(shares: dict[str, float]) -> str:
    return ", ".join(f"{share:+.1%} at step {step}" for step, share in shares.items()).replace("-", "−")


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _cell(name: str, value: float) -> str:
    if name == "passes":
        return "yes" if value else "no"
    if not math.isfinite(value):
        return "not finite"
    return f"{value:.1%}" if name in ("step_bias_share", "escaped") else f"{value:.4g}"


def _finite(value: Any) -> Any:
    """JSON has no NaN: null instead."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
