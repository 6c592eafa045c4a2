"""Table: the curves of a file along increasing optimizer steps, ready for the search for transitions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from devi.errors import DeviError, quoted, unknown_name
from devi.tables.cells import Column
from devi.tables.formats import NETCDF, columns_of, opened

STEPS = ("step", "_step", "global_step", "trainer/global_step", "steps", "iteration", "iter")  # any case
CLOCKS = (
    "_timestamp", "timestamp", "wall time", "wall_time", "time", "relative time", "elapsed", "elapsed time",
    "elapsed_time", "epoch", "date",
)  # fmt: skip
LEARNING_RATE = re.compile(r"(^|[^a-z])(lr|learning[ _-]?rate)([^a-z]|$)")  # lr-AdamW, train/learning_rate, lr/pg0
WORK = re.compile(r"_per_sec(ond)?$|^(total_flos|num_input_tokens_seen|num_tokens)$")  # as Hugging Face's trainer logs
COUNTS_STEPS = "counts steps; to take these: --step NAME"
WANDB_EXTREMES = ("__MIN", "__MAX")
EXACT = 2.0**53  # below it a float holds every whole number
WIDE = 0.5  # decades between neighbours: a change in there has no date


@dataclass(frozen=True)
class Table:
    """trajectories along `step`, why other columns are left out, and what a reader of the result should know."""

    trajectories: xr.Dataset
    left_out: Mapping[str, str]
    notices: list[str] = field(default_factory=list)


def read_table(
    path: Path | str,
    *,
    step: str | None = None,
    metrics: Sequence[str] = (),
    errors: Mapping[str, str] | None = None,
    growing: bool = False,
) -> Table:
    """The curves of a file.

    step     column of the optimizer steps; None looks for one of STEPS
    metrics  only these; none: every column of numbers that is a quantity
    errors   metric -> column of its standard error; NAME_se is found by itself
    growing  the file is still being written: a last line without its end is not there yet
    Rows of one step are merged where they fill each other's gaps, as loggers write them.
    Raises DeviError for steps that are missing, not numbers, unsorted or repeated, and where no column holds numbers.
    """
    path, errors = Path(path), dict(errors or {})
    if path.suffix.lower() in NETCDF and path.is_file():
        dataset, left_out = _of_netcdf(path, step)
        name = step or "step"
    else:
        columns = columns_of(path, growing=growing)
        name = _step_column(path, columns, step)
        dataset, left_out = _of_columns(path, columns, name)
    for metric, column in errors.items():
        for each in (metric, column):
            _check_name(path, each, dataset, {**left_out, name: "holds the steps"})
        if column == metric:
            raise DeviError(f"'{metric}' of {path} is not its own standard error; expected a column beside it.")
    dataset = _with_errors(dataset, errors)
    dataset, unwanted = _chosen(path, dataset, metrics, left_out)
    left_out |= unwanted
    if not dataset.data_vars:
        listed = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise DeviError(
            f"{path} has no numeric column beside its steps{f' ({listed})' if listed else ''}; expected one quantity a"
            f" column.{' To search one of these all the same: --metrics NAME' if unwanted else ''}"
        )
    if not dataset.sizes["step"]:
        raise DeviError(f"{path} has names and no row; expected one row a checkpoint. Is it still being written?")
    return Table(dataset, left_out, [*_several_runs(dataset), *_gaps(dataset)])


def _step_column(path: Path, columns: Mapping[str, Column], step: str | None) -> str:
    if step is not None:
        if step not in columns:
            raise unknown_name(f"column of {path.name}", step, columns)
        return step
    for key in (str.lower, _last_part):  # train/global_step, where none is called so outright
        named = {key(name): name for name in reversed(list(columns))}
        for known in STEPS:
            if known in named:
                return named[known]
    raise DeviError(
        f"{path} has no column of steps; expected one called {', '.join(STEPS[:4])} or the like."
        f" Its columns: {', '.join(columns)}. Name the one that counts steps, or what stands for them: --step COLUMN."
        " If there is none, add a column 'step'; where rows are evenly spaced, their numbers do."
    )


def _of_columns(path: Path, columns: dict[str, Column], name: str) -> tuple[xr.Dataset, dict[str, str]]:
    steps = columns.pop(name)
    if isinstance(steps, str):
        raise DeviError(
            f"the steps of {path} (column '{name}') are no numbers: {steps}. Correct them, or name another:"
            " --step COLUMN"
        )
    if steps.ndim != 1:
        raise DeviError(
            f"the steps of {path} (column '{name}') have {steps.ndim} dimensions; expected one number a row."
        )
    left_out = {each: one for each, one in columns.items() if isinstance(one, str)}
    numbers = {each: one for each, one in columns.items() if not isinstance(one, str)}
    different = [each for each, one in numbers.items() if len(one) != len(steps)]
    for each in different:
        left_out[each] = f"has {len(numbers.pop(each))} values for {len(steps)} steps"
    rows = np.arange(1, len(steps) + 1)
    blank = np.isnan(steps)
    for row in np.flatnonzero(blank):
        if any(np.isfinite(one[row]).any() for one in numbers.values()):
            raise DeviError(
                f"row {row + 1} of {path} has values but no step (column '{name}'); expected a step in every row."
                " Fill it in, or leave the row out."
            )
    steps, rows = steps[~blank], rows[~blank]
    numbers = {each: one[~blank] for each, one in numbers.items()}
    _check_order(path, steps, rows)
    first = np.concatenate([[0], np.flatnonzero(np.diff(steps) > 0) + 1]) if len(steps) else np.zeros(0, dtype=int)
    merged = {each: _merged(path, each, one, steps, rows, first) for each, one in numbers.items()}
    run = _common_run(list(merged))
    short = {each[len(run) :]: one for each, one in merged.items()}
    variables = {each: (("step", f"{each}_axis0")[: one.ndim], one) for each, one in short.items()}
    if variables.pop("step", None) is not None:
        left_out["step"] = COUNTS_STEPS
    kept = steps[first]
    whole = kept.astype(int) if np.all((kept == np.round(kept)) & (kept < EXACT)) else kept
    return xr.Dataset(variables, coords={"step": whole}), left_out


def _check_order(path: Path, steps: np.ndarray, rows: np.ndarray) -> None:
    if len(steps) and steps.min() < 0:
        row = rows[int(np.argmin(steps))]
        raise DeviError(
            f"row {row} of {path} has step {steps.min():g}; expected optimizer steps from 0 on."
            " Leave out the rows before 0, or count from the first one."
        )
    if len(steps) and np.isinf(steps.max()):
        row = rows[int(np.argmax(steps))]
        raise DeviError(
            f"row {row} of {path} has step inf; expected a finite number. Correct it, or leave the row out."
        )
    back = np.flatnonzero(np.diff(steps) < 0)
    if len(back):
        i = int(back[0])
        raise DeviError(
            f"{path}: step {steps[i + 1]:g} (row {rows[i + 1]}) comes after step {steps[i]:g} (row {rows[i]}); expected"
            " steps that increase. Sort the rows; where training was resumed or several runs share a file, keep one."
        )


def _merged(
    path: Path, name: str, values: np.ndarray, steps: np.ndarray, rows: np.ndarray, first: np.ndarray
) -> np.ndarray:
    """One value a step: the finite one of its rows, the first of what is no quantity. (row,) or (row, column)."""
    if len(first) == len(steps):
        return values
    result = values[first].copy()
    group = np.searchsorted(first, np.arange(len(steps)), side="right") - 1
    for row in np.flatnonzero(np.diff(group, prepend=-1) == 0):
        into, new = result[group[row]], values[row]
        clash = np.isfinite(into) & np.isfinite(new) & (into != new)
        if np.any(clash) and not _no_quantity(name, ()):
            raise DeviError(
                f"{path}: step {steps[row]:g} repeats (row {rows[row]}) with another value of '{name}'; expected one"
                " value a step. Keep one of the rows; several runs in one file go into one file each."
            )
        result[group[row]] = np.where(np.isfinite(new) & ~clash, new, into)
    return result


def _common_run(names: list[str]) -> str:
    """Weights & Biases heads a chart's columns 'run name - metric': the run, where all share one."""
    heads = {name.partition(" - ")[0] for name in names if " - " in name}
    run = f"{next(iter(heads))} - " if len(heads) == 1 else ""
    return run if run and all(name.startswith(run) for name in names) else ""


def _several_runs(dataset: xr.Dataset) -> list[str]:
    """A sentence where the columns of one chart are those of several runs, which are no metrics of one."""
    names = [str(name) for name in dataset.data_vars]
    runs = list(dict.fromkeys(name.partition(" - ")[0] for name in names))
    if len(runs) < 2 or not all(" - " in name for name in names):
        return []
    first = ",".join(name for name in names if name.startswith(f"{runs[0]} - "))
    return [
        f"the columns belong to {len(runs)} runs ({', '.join(runs)}), which are searched as if they were metrics of"
        f" one. One run at a time: --metrics {quoted(first)}"
    ]


def _of_netcdf(path: Path, step: str | None) -> tuple[xr.Dataset, dict[str, str]]:
    dataset = opened(path)
    left_out: dict[str, str] = {}
    if step is not None and step != "step":
        if step not in dataset.variables:
            raise unknown_name(f"variable of {path.name}", step, map(str, dataset.variables))
        if dataset[step].ndim != 1:
            raise DeviError(
                f"variable '{step}' of {path} has {dataset[step].ndim} dimensions; expected the steps along one."
                " Name another: --step NAME"
            )
        dimension = dataset[step].dims[0]
        dataset = dataset.set_coords(step).swap_dims({dimension: step}) if dimension != step else dataset
        others = [str(name) for name, one in dataset.variables.items() if name == "step" or "step" in one.dims]
        left_out = {name: COUNTS_STEPS if name == "step" else f"lies along 'step', not '{step}'" for name in others}
        dataset = dataset.drop_vars(others).rename({step: "step"})
    if "step" not in dataset.coords or dataset["step"].dims != ("step",):
        known = [str(name) for name, one in dataset.coords.items() if one.ndim == 1 and one.dtype.kind in "iuf"]
        named = f"Name another: --step {known[0]}" if known else "Give it one: dataset.assign_coords(step=steps)"
        raise DeviError(
            f"{path} has no coordinate 'step'; expected optimizer steps along a dimension of that name."
            f" Its dimensions: {', '.join(map(str, dataset.sizes)) or 'none'}. {named}"
        )
    steps = dataset["step"].values
    if steps.dtype.kind not in "iuf" or not np.all(np.isfinite(steps.astype(float))):
        raise DeviError(f"the steps of {path} are {steps.dtype} values; expected numbers that increase.")
    _check_order(path, steps.astype(float), np.arange(1, len(steps) + 1))
    repeats = np.flatnonzero(np.diff(steps.astype(float)) == 0)
    if len(repeats):
        raise DeviError(f"{path}: step {steps[repeats[0]]:g} repeats; expected steps that increase. Keep one of them.")
    return dataset, left_out


def _with_errors(dataset: xr.Dataset, errors: Mapping[str, str]) -> xr.Dataset:
    """Each metric's errors as NAME_se, in place of what was called so; one column may serve several metrics."""
    assigned = dataset.assign({f"{metric}_se": dataset[column] for metric, column in errors.items()})
    kept = {*errors, *(f"{name}_se" for name in dataset.data_vars)}
    return assigned.drop_vars(set(errors.values()) - kept)


def _chosen(
    path: Path, dataset: xr.Dataset, metrics: Sequence[str], left_out: Mapping[str, str]
) -> tuple[xr.Dataset, dict[str, str]]:
    """The metrics that are asked for with their errors, or all that are quantities; why the others are not."""
    names = [str(name) for name in dataset.data_vars]
    for metric in metrics:
        _check_name(path, metric, dataset, left_out)
    if metrics:
        wanted = {*metrics, *(f"{metric}_se" for metric in metrics)}
        return dataset[[name for name in names if name in wanted]], {}
    reasons = {name: reason for name in names if (reason := _no_quantity(name, names))}
    return dataset.drop_vars(list(reasons)), reasons


def _check_name(path: Path, name: str, dataset: xr.Dataset, left_out: Mapping[str, str]) -> None:
    if name in left_out:
        raise DeviError(f"column '{name}' of {path} {left_out[name]}; expected numbers along the steps.")
    if name not in dataset.data_vars:
        raise unknown_name(f"column of {path.name}", name, map(str, dataset.data_vars))


def _no_quantity(name: str, names: Sequence[str]) -> str:
    if _last_part(name) in CLOCKS or _last_part(name).endswith("runtime"):
        return "counts time"
    if _last_part(name) in STEPS:
        return COUNTS_STEPS
    if WORK.search(_last_part(name)):
        return "counts work or the machine's speed"
    if LEARNING_RATE.search(name.lower().rpartition(" - ")[2]):  # the name of a run may hold its learning rate
        return "is set from outside; to declare a drop: --exogenous STEP:LABEL"
    if name.endswith(WANDB_EXTREMES) and name[: -len(WANDB_EXTREMES[0])] in names:
        return "is an extreme of another column"
    return ""


def _last_part(name: str) -> str:
    """global_step of train/global_step and of 'run - train/global_step': loggers put what it belongs to before it."""
    return name.lower().rpartition(" - ")[2].rpartition("/")[2]


def _gaps(dataset: xr.Dataset) -> list[str]:
    """A sentence for each stretch of half a decade or more without a value, over steps or within one metric."""
    steps = dataset["step"].values.astype(float)
    told: dict[tuple[float, float], list[str]] = {}
    for name in (str(name) for name in dataset.data_vars):
        variable = dataset[name]
        if variable.dims[:1] != ("step",) or variable.dtype.kind not in "fiub":
            continue
        finite = np.isfinite(variable.values.astype(float).reshape(len(steps), -1)).any(axis=1) & (steps > 0)
        seen = steps[finite]
        for i in np.flatnonzero(np.diff(np.log10(seen)) >= WIDE):
            told.setdefault((float(seen[i]), float(seen[i + 1])), []).append(name)
    sentences = []
    for (low, high), names in sorted(told.items()):
        what = "nothing was measured" if len(names) == len(dataset.data_vars) else f"no value of {', '.join(names)}"
        sentences.append(
            f"{what} between steps {low:,.10g} and {high:,.10g} ({np.log10(high / low):.1f} decades):"
            " a change in there can only be dated to that gap."
        )
    return sentences
