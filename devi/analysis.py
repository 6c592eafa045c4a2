"""analyze: plan, reuse what is cached, run the metrics block by block, find the transitions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import devi
from devi.blocks import BLOCK, over, resolved
from devi.cache import Cache
from devi.checkpoints.provenance import data_hash
from devi.checkpoints.reader import Run, check_run
from devi.checkpoints.userblock import replacing
from devi.errors import DeviError, Unsuitable, counted, quoted, unknown_name
from devi.executors import Executor, Here
from devi.metrics.choice import chosen_metrics, unasked
from devi.metrics.metric import Metric
from devi.plugins import name_of
from devi.sampling.diagnostics import FLAG_MEANINGS, INFORMATION
from devi.sampling.example_losses import encoding
from devi.tables.standard_errors import sentences, with_fitting_errors
from devi.task import settings_of
from devi.transitions.contradicted import contradictions
from devi.transitions.fusion import OPERATING_POINTS, detect
from devi.transitions.transition import Exogenous

Progress = Callable[[str, float], None]  # what is being done, and how much of it, 0 to 1


@dataclass
class Analysis:
    """What was found in one run. `trajectories` has every metric along `step`, with `NAME_se` beside every estimate."""

    trajectories: xr.Dataset
    transitions: list[Any]
    stages: list[Any]
    skipped: list[Any]
    run: dict[str, Any]
    settings: dict[str, Any]
    notices: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    command: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    flag_meanings: dict[str, str] = field(default_factory=lambda: dict(FLAG_MEANINGS))

    def save(self, directory: Path | str) -> Path:
        """Write `analysis.h5` (netCDF-4): `xarray.open_dataset(path, engine="h5netcdf")` reads it."""
        path = Path(directory) / "analysis.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        described = self.trajectories.assign_attrs(
            schema="devi/analysis/1",
            run=json.dumps(self.run),
            settings=json.dumps(self.settings),
            notices=json.dumps(self.notices),
            devi=devi.__version__,
        )
        if "example_loss" in described:
            described["example_loss"].encoding = encoding(described["example_loss"].shape)  # type: ignore[arg-type]
        with replacing(path) as temporary:
            described.to_netcdf(temporary, engine="h5netcdf")
        return path

    @property
    def unhealthy(self) -> list[int]:
        """Steps of which a learning-coefficient estimate carries a flag that is more than information."""
        found = np.zeros(self.trajectories.sizes["step"], dtype=bool)
        for name in ("llc_flags", "restricted_llc_flags"):
            for row, flags in enumerate(self.trajectories[name].values if name in self.trajectories else ()):
                words = {word for each in np.atleast_1d(flags) for word in str(each).split(",")} - {""}
                found[row] |= bool(words - INFORMATION)
        return self.trajectories["step"].values[found].tolist()


def analyze(
    run: Run,
    *,
    metrics: Sequence[str | type[Metric] | Metric] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    device: str | None = None,
    memory: int | None = None,
    cache: Path | str | None = None,
    executor: Executor | None = None,
    operating_point: str = "strict",
    exogenous: Exogenous | None = None,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> Analysis:
    """Run the task's metrics and `metrics` over every checkpoint of `run`, and find the transitions.

    settings   metric name -> settings that differ from its defaults
    device     where metrics compute that can choose; None leaves it to each
    memory     bytes that blocks of checkpoints and the choice of the sampler's settings may take; None is half of what
               is free, and then a model of millions of parameters may get other settings where less is
    cache      directory for finished blocks; None keeps none
    note       is told what the work ahead will cost, without what is in the cache, in a sentence
    Raises DeviError for an unknown metric or setting, or when the run does not fit its task.
    """
    if operating_point not in OPERATING_POINTS:  # now, not after minutes of sampling
        raise unknown_name("operating point", operating_point, OPERATING_POINTS)
    check_run(run)
    tell, say = progress or (lambda what, share: None), note or (lambda sentence: None)
    run.check(lambda done, count: tell("checking", done / count))
    run.check_matches(run.task)
    whole, notices = intact(run)
    if run.metadata.get("data_hash") not in (None, data_hash(run.task)):
        notices.append(
            "the task's training data are not those the run was made with (their hash differs): losses, and what is"
            " computed from them, are on today's data. Does data() draw them? Seed a generator there, so that each call"
            " gives the same: torch.Generator().manual_seed(self.seed)."
        )
    planned = chosen_metrics(run.task, metrics, settings or {}, device=device)
    store = Cache(Path(cache)) if cache is not None else None
    if store is not None:
        store.clear()
    results: dict[str, Any] = {}
    used: dict[str, Any] = {}
    seconds: dict[str, Any] = {}
    # What samples comes last: a mistake in a metric of the user's is told before the minutes that sampling takes.
    for metric in sorted(planned, key=lambda each: each.progresses):
        name, begun = metric.label(), time.perf_counter()
        try:
            ready = resolved(metric, whole, store, partial(tell, f"{name}: settings"), say, memory=memory)
            results[name] = over(ready, whole, store, executor or Here(), partial(tell, name), memory=memory, note=say)
            _merged(results, whole)  # now, for the same reason: do they go together?
        except Unsuitable as reason:
            if name not in unasked(run.task, metrics, settings or {}):
                given = [f"--{key.replace('_', '-')} or --set {name}.{key}" for key in (settings or {}).get(name, {})]
                raise DeviError(
                    f"{reason} Leave '{name}' out of {type(run.task).__name__}.metrics(), --metric and the settings"
                    f"{': ' if given else ''}{', '.join(given)}."
                ) from None
            notices.append(f"metric {name} is left out: {reason}")
            continue
        used[name], seconds[name] = settings_of(ready), time.perf_counter() - begun
        notices += [*_without_values(ready, results[name]), *ready.remarks(results[name])]
    results, used, seconds = (_in_order(found, planned) for found in (results, used, seconds))
    trajectories, unfit = with_fitting_errors(_merged(results, whole))
    notices += sentences(unfit)
    notices += contradictions(trajectories, exogenous or {})
    begun = time.perf_counter()
    found = detect(
        trajectories, operating_point=operating_point, exogenous=exogenous, progress=partial(tell, "transitions")
    )
    seconds["transitions"] = time.perf_counter() - begun
    if store is not None:
        store.prune()
    return Analysis(
        trajectories=trajectories,
        transitions=found.transitions,
        stages=found.stages,
        skipped=found.skipped,
        run=description(run, whole),
        settings={**used, "transitions": {**found.settings, "operating_point": operating_point}},
        notices=[*notices, *found.notices],
        seconds=seconds,
        evidence=found.evidence,
    )


def intact(run: Run) -> tuple[Run, list[str]]:
    """The checkpoints whose parameters are all finite, and a sentence for everything left out."""
    notices = list(run.problems)
    finite = np.ones(len(run), dtype=bool)
    for start in range(0, len(run), BLOCK):
        stop = min(start + BLOCK, len(run))
        values = {**run.parameters(slice(start, stop)), **run.buffers(slice(start, stop))}
        for name, value in values.items():
            if not np.issubdtype(value.dtype, np.inexact):
                continue
            bad = ~np.isfinite(value).reshape(stop - start, -1).all(axis=1)
            for index in np.flatnonzero(bad & finite[start:stop]):
                notices.append(
                    f"step {run.steps[start + index]} is left out: parameter '{name}' has values that are not finite."
                )
            finite[start:stop] &= ~bad
    if not finite.any():
        raise DeviError(
            f"{run.path}: of its {counted(len(run), 'checkpoint')} none has parameters that are all finite; there is"
            f" nothing to analyze. Did training diverge? See: devi show {quoted(run.path)}"
        )
    return (run if finite.all() else run.select(np.flatnonzero(finite))), notices


def description(run: Run, whole: Run) -> dict[str, Any]:
    """What the report says of the run: plain JSON values."""
    return {
        "name": run.name,
        "path": str(run.path),
        "task": run.metadata.get("task") or name_of("task", type(run.task)),
        "task_settings": settings_of(run.task),
        "loss_units": run.task.loss_units,
        "training": run.metadata.get("training", {}),
        "seed": run.metadata.get("seed"),
        "metadata": {key: value for key, value in run.metadata.items() if key not in ("training", "settings")},
        "checkpoints": len(run),
        "analyzed": len(whole),
        "parameters": run.parameter_count,
    }


def _without_values(metric: Metric, result: xr.Dataset) -> list[str]:
    """A sentence for each variable of a user's metric that was to be followed and is nan throughout."""
    if type(metric).__module__.startswith("devi."):  # their own remarks and flags say why a value is missing
        return []
    empty = [
        name
        for name, values in result.data_vars.items()
        if values.dtype.kind == "f" and values.attrs.get("detect", 1) and not str(name).endswith("_se")
        if values.size and bool(values.isnull().all())
    ]
    told = "is nan at every checkpoint, so that there is nothing to follow."
    return [f"metric {metric.label()}: '{name}' {told}" for name in empty]


def _in_order(found: Mapping[str, Any], planned: Sequence[Metric]) -> dict[str, Any]:
    """What there is of each metric, in the order they were planned in."""
    return {name: found[name] for name in (metric.label() for metric in planned) if name in found}


def _merged(results: Mapping[str, xr.Dataset], whole: Run) -> xr.Dataset:
    """All results in one Dataset; scalars that training recorded fill in what no metric gives."""
    merged = xr.Dataset(coords={"step": whole.steps})
    owner: dict[str, str] = {}
    for name, result in results.items():
        for variable in result.data_vars:
            if variable in owner:
                raise DeviError(
                    f"metrics {owner[str(variable)]} and {name} both give '{variable}'; rename one of them."
                )
            owner[str(variable)] = name
        try:
            merged = merged.merge(result.assign_coords(step=whole.steps), combine_attrs="drop_conflicts")
        except ValueError as error:
            raise DeviError(
                f"metric {name} gives dimensions {dict(result.sizes)}, others {dict(merged.sizes)}, and one name cannot"
                f" have two lengths ({str(error)[:160]}). Give its axis another name."
            ) from None
    for variable, values in whole.scalars.data_vars.items():
        if variable not in merged:
            merged[variable] = values
    merged["step"].attrs = {"units": "optimizer steps", "long_name": "training step"}
    return merged
