"""Table: the curves of a file along increasing optimizer steps, ready for the search for transitions."""

from __future__ import annotations

from collections.abc import Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from devi.errors import DeviError, unknown_name
from devi.tables.cells import Column
from devi.tables.formats import NETCDF, columns_of, opened
from devi.tables.gaps import gaps
from devi.tables.names import COUNTS_STEPS, STEPS, common_run, last_part, no_quantity, several_runs
from devi.tables.standard_errors import with_fitting_errors

EXACT = 2.0**53  # below it a float holds every whole number


@dataclass(frozen=True)
class Table:
    """trajectories along `step`, why other columns are left out, and what a reader of the result should know.

    run  what stood before all names of columns in the file, 'run name - ', and was taken off
    """

    trajectories: xr.Dataset
    left_out: Mapping[str, str]
    notices: list[str] = field(default_factory=list)
    run: str = ""

    def own_name(self, name: str) -> str:
        """A column's name here, given as it stands here or in the file."""
        return _own(name, self.trajectories, self.run)


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
    metrics  only these, or several with commas between; none: every column of numbers that is a quantity
    errors   metric -> column of its standard error; NAME_se is found by itself
    growing  the file is still being written: a last line without its end is not there yet
    Rows of one step are merged where they fill each other's gaps, as loggers write them.
    Raises DeviError for steps that are missing, not numbers, unsorted or repeated, and where no column holds numbers.
    """
    path, run = Path(path), ""
    if path.suffix.lower() in NETCDF and path.is_file():
        dataset, left_out = _of_netcdf(path, step)
        name = step or "step"
    else:
        columns = columns_of(path, growing=growing)
        name = _step_column(path, columns, step)
        dataset, left_out, run = _of_columns(path, columns, name)
    known = {**left_out, name: "holds the steps"}
    errors = {_own(metric, dataset, run): _own(column, dataset, run) for metric, column in (errors or {}).items()}
    for metric, column in errors.items():
        for each in (metric, column):
            _check_name(path, each, dataset, known)
        if column == metric:
            raise DeviError(f"'{metric}' of {path} is not its own standard error; expected a column beside it.")
    asked = [one for text in metrics for one in _asked(text, {*known, *dataset.data_vars}, run)]
    if metrics and not asked:
        raise DeviError(f"--metrics '{', '.join(metrics)}' names no column of {path}; leave it out to search all.")
    dataset, unfit = with_fitting_errors(_with_errors(dataset, errors))
    left_out |= unfit
    dataset, unwanted = _chosen(path, dataset, asked, known | unfit)
    left_out |= unwanted
    if not dataset.data_vars:
        listed = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise DeviError(
            f"{path} has no numeric column beside its steps{f' ({listed})' if listed else ''}; expected one quantity a"
            f" column.{' To search one of these all the same: --metrics NAME' if unwanted else ''}"
        )
    if not dataset.sizes["step"]:
        raise DeviError(f"{path} has names and no row; expected one row a checkpoint. Is it still being written?")
    return Table(dataset, left_out, [*several_runs(list(map(str, dataset.data_vars))), *gaps(dataset)], run)


def _own(name: str, known: Container[Hashable], run: str) -> str:
    return name if name in known else name.removeprefix(run)


def _asked(text: str, known: Container[Hashable], run: str) -> list[str]:
    """The columns that a text names: one, whose name may hold commas, or several with commas between."""
    if _own(text, known, run) in known:
        return [_own(text, known, run)]
    return [_own(name.strip(), known, run) for name in text.split(",") if name.strip()]


def _step_column(path: Path, columns: Mapping[str, Column], step: str | None) -> str:
    if step is not None:
        if step not in columns:
            raise unknown_name(f"column of {path.name}", step, columns)
        return step
    for key in (str.lower, last_part):  # train/global_step, where none is called so outright
        named = {key(name): name for name in reversed(list(columns))}
        for known in STEPS:
            if known in named:
                return named[known]
    if not columns:
        raise DeviError(f"{path} is empty; expected steps and one quantity a column. Is it still being written?")
    raise DeviError(
        f"{path} has no column of steps; expected one called {', '.join(STEPS[:4])} or the like."
        f" Its columns: {', '.join(columns)}. Name the one that counts steps, or what stands for them: --step COLUMN."
        " If there is none, add a column 'step'; where rows are evenly spaced, their numbers do."
    )


def _of_columns(path: Path, columns: dict[str, Column], name: str) -> tuple[xr.Dataset, dict[str, str], str]:
    """The curves, why other columns are none, and what stood before all names."""
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
    run = common_run(name, list(merged))
    short = {each[len(run) :]: one for each, one in merged.items()}
    variables = {each: (("step", f"{each}_axis0")[: one.ndim], one) for each, one in short.items()}
    if variables.pop("step", None) is not None:
        left_out["step"] = COUNTS_STEPS
    kept = steps[first]
    whole = kept.astype(int) if np.all((kept == np.round(kept)) & (kept < EXACT)) else kept
    return xr.Dataset(variables, coords={"step": whole}), left_out, run


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
    if len(steps) and steps.max() >= EXACT and (np.diff(steps) == 0).any():
        raise DeviError(
            f"the steps of {path} are as large as {steps.max():g}, where neighbours can no longer be told apart;"
            " expected steps below 2^53. Count them from the first one."
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
        if np.any(clash) and not no_quantity(name, ()):
            raise DeviError(
                f"{path}: step {steps[row]:g} repeats (row {rows[row]}) with another value of '{name}'; expected one"
                " value a step. Keep one of the rows; several runs in one file go into one file each."
            )
        result[group[row]] = np.where(np.isfinite(new) & ~clash, new, into)
    return result


def _of_netcdf(path: Path, step: str | None) -> tuple[xr.Dataset, dict[str, str]]:
    dataset = opened(path)
    left_out: dict[str, str] = {}
    if step is None and "step" in dataset.variables and dataset["step"].ndim == 1 and "step" not in dataset.dims:
        step = "step"
    if step is not None and (step != "step" or "step" not in dataset.dims):
        if step not in dataset.variables:
            raise unknown_name(f"variable of {path.name}", step, map(str, dataset.variables))
        if dataset[step].ndim != 1:
            raise DeviError(
                f"variable '{step}' of {path} has {dataset[step].ndim} dimensions; expected the steps along one."
                " Name another: --step NAME"
            )
        dimension = dataset[step].dims[0]
        dataset = dataset.set_coords(step).swap_dims({dimension: step}) if dimension != step else dataset
        others = [] if step == "step" else _along_step(dataset)
        left_out = {name: COUNTS_STEPS if name == "step" else f"lies along 'step', not '{step}'" for name in others}
        dataset = dataset.drop_vars(others)
        dataset = dataset if step == "step" else dataset.rename({step: "step"})
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


def _along_step(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name, one in dataset.variables.items() if name == "step" or "step" in one.dims]


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
    reasons = {name: reason for name in names if (reason := no_quantity(name, names))}
    return dataset.drop_vars(list(reasons)), reasons


def _check_name(path: Path, name: str, dataset: xr.Dataset, left_out: Mapping[str, str]) -> None:
    if name in left_out:
        raise DeviError(f"column '{name}' of {path} {left_out[name]}; expected numbers along the steps.")
    if name not in dataset.data_vars:
        raise unknown_name(f"column of {path.name}", name, map(str, dataset.data_vars))
