"""Run: a directory of checkpoints, read-only and lazy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from devi.checkpoints.header import Finding
from devi.checkpoints.layout import NUMPY_KNOWS, Layout, Stored
from devi.checkpoints.lock import Holder, living_holder
from devi.checkpoints.mapped import as_slice
from devi.checkpoints.records import Records
from devi.checkpoints.task_of import how_to_resume, task_of
from devi.checkpoints.verify import REPAIR_NOTE
from devi.errors import DeviError, counted, shown, wrong_kind
from devi.task import Task

if TYPE_CHECKING:  # torch and xarray are loaded where a model or a Dataset is asked for: opening a run is quick
    import xarray as xr
    from torch import nn

_MOST_PROBLEMS = 50

Index = int | np.integer | slice | np.ndarray


def open_run(path: str | Path, task: Task | type[Task] | None = None) -> Run:
    """The run in directory `path`.

    task   None: the built-in task that the run names, with the stored settings; a name that is not built in is never
           imported. A class: with the stored settings. An instance: as it is.
    The records of a run up to 64 MiB are checked now; of a larger one each before its values are first handed out,
    where a damaged one raises DeviError. `run.check()` checks them all and leaves damaged ones out.

    Raises DeviError for a directory without a checkpoint that can be read.
    """
    if not isinstance(task, Task | type | None):
        raise wrong_kind("the task", task, "its class, open_run(path, MyTask), or an instance of it.")
    is_live = living_holder(Path(path)) is not None
    records = Records.open(Path(path), is_live=is_live)
    if not records.segments or not (len(records.steps) or is_live):
        if records.segments and all(finding.kind == "torn" for finding in records.findings):
            raise DeviError(
                f"{path}: no checkpoint in it is whole: its writer stopped before the first one was."
                f" To begin the run again in its place: {how_to_resume(Path(path), records.layout_header.metadata)}"
            )
        reasons = " ".join(f"{finding}." for finding in records.findings[:10])
        raise DeviError(f"{path}: no checkpoint in it is whole. {reasons} Train again to another path.")
    return Run(records, range(len(records.steps)), task)


def check_run(run: object) -> None:
    """Raises DeviError for what is no run, such as its path; what only has the same methods is one."""
    if not hasattr(run, "model_at"):
        path = repr(str(run)) if isinstance(run, str | Path) else "'checkpoints/my-run'"
        raise wrong_kind("the run", run, f"an opened run: devi.open_run({path}).")


class Run:
    """Checkpoints in order of their steps. Damaged records are left out and named in `problems`."""

    def __init__(self, records: Records, places: range | np.ndarray, task: Task | type[Task] | None) -> None:
        self._records = records
        self._places = places  # (T,) rows of the records; a range says that they are even without a look at each
        self._given = task
        self._task: Task | None = task if isinstance(task, Task) else None
        self._whole: Run | None = None
        self._is_chosen = False  # by `select`: these checkpoints and no others
        self.start = 0
        self._has_checked = False

    @property
    def path(self) -> Path:
        return self._records.folder

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def metadata(self) -> dict[str, Any]:
        return self._records.layout_header.metadata

    @property
    def findings(self) -> list[Finding]:
        """What is wrong with the files: kind (damaged, torn, file), file, record, step, reason. Checks every record."""
        self._records.check()
        return self._records.findings

    def check(self, tell: Callable[[int, int], None] | None = None) -> Self:
        """Check every record that was not yet, and leave damaged ones out of this run; `tell` takes (done, all)."""
        self._records.check(tell)
        is_damaged = self._records.is_damaged[as_slice(self._places)]
        if is_damaged.any():
            self._places = np.asarray(self._places)[~is_damaged]
        return self

    @property
    def layout(self) -> Layout:
        """What a record holds: scalars, tensors."""
        return self._records.layout

    @property
    def is_repaired(self) -> bool:
        """Whether this is what `devi repair` made of a damaged run."""
        return (self._records.here / REPAIR_NOTE).exists()

    @property
    def is_checked(self) -> bool:
        """Whether every record was; until then `findings` takes the time to read them all."""
        return bool(self._records.is_checked.all())

    @property
    def problems(self) -> list[str]:
        """What is wrong or missing, as sentences; of many findings the first ones."""
        findings = self.findings
        told = [str(finding) for finding in findings[:_MOST_PROBLEMS]]
        if len(findings) > len(told):
            told.append(f"and {len(findings) - len(told)} more. All of them: devi verify {self.path}")
        if self.is_repaired:
            told.append(f"this is what was whole of a damaged run; {REPAIR_NOTE} beside the checkpoints names the rest")
        return told

    @property
    def whole(self) -> Run:
        """The run that this block was cut from; itself if it is no block."""
        return self if self._whole is None else self._whole

    @property
    def is_live(self) -> bool:
        """Whether a writer holds the run now."""
        return self.writer is not None

    @property
    def writer(self) -> Holder | None:
        """Who writes the run now."""
        return living_holder(self._records.here)

    @property
    def task(self) -> Task:
        if self._task is None:
            given = self._given if isinstance(self._given, type) else None
            self._task = task_of(self.path, self.metadata, given)
        return self._task

    @property
    def steps(self) -> np.ndarray:
        """(T,) optimizer steps."""
        return self._records.steps[as_slice(self._places)].copy()

    @property
    def digests(self) -> np.ndarray:
        """(T, 16) the records' digests: they identify a checkpoint for a cache."""
        return self._records.digests[as_slice(self._places)].copy()

    @property
    def scalars(self) -> xr.Dataset:
        """What was recorded beside the model, each along `step`."""
        import xarray as xr

        about = {"units": "1", "source": "recorded during training"}
        columns = self._records.columns(self._places, list(self._records.layout.scalars))
        data = {name: ("step", columns[name], {**about, "long_name": name}) for name in self._records.layout.scalars}
        return xr.Dataset(data, coords={"step": self.steps})

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self.layout.parameters.items()}

    @property
    def parameter_dtypes(self) -> dict[str, str]:
        """As torch names them: 'float32', 'bfloat16'."""
        return {name: tensor.dtype for name, tensor in self.layout.parameters.items()}

    @property
    def parameter_count(self) -> int:
        return sum(math.prod(shape) for shape in self.parameter_shapes.values())

    def parameters(self, index: Index = slice(None), names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """Parameters by name: (t, *shape), or (*shape) for an int; read-only views of the file where possible.

        bfloat16 and float8 come widened to float32, which is exact.
        """
        return self._tensors(index, names, self.layout.parameters)

    def buffers(self, index: Index = slice(None)) -> dict[str, np.ndarray]:
        """Persistent buffers, as `parameters` gives parameters."""
        return self._tensors(index, None, self.layout.buffers)

    def _tensors(self, index: Index, names: Iterable[str] | None, known: dict[str, Stored]) -> dict[str, np.ndarray]:
        wanted = known if names is None else self._named(names, known)
        is_one = isinstance(index, int | np.integer)
        if isinstance(index, int | np.integer):
            place = int(self._at(index))
            places: range | np.ndarray = range(place, place + 1)
        else:
            places = self._at(index)
        columns = self._records.columns(places, [tensor.field for tensor in wanted.values()])
        result = {}
        for name, tensor in wanted.items():
            if tensor.field is None:
                values = np.zeros((len(places), *tensor.shape), tensor.numpy_dtype)
            else:
                values = columns[tensor.field]
            if tensor.dtype not in NUMPY_KNOWS:
                from devi.checkpoints.tensors import to_values

                values = to_values(values, tensor.dtype)
            result[name] = values[0] if is_one else values
        return result

    def _named(self, names: Iterable[str], known: dict[str, Stored]) -> dict[str, Stored]:
        wanted = list(names)
        for name in wanted:
            if name not in known:
                raise DeviError(f"{self.path} has no parameter '{name}'. It has: {', '.join(known)}.")
        return {name: known[name] for name in wanted}

    def model_at(self, index: int) -> nn.Module:
        """The task's model with the weights and buffers of one checkpoint, in eval mode; no global RNG is touched.

        index  a position, 0 to len(run) - 1 or from the end, and no step: model_at(-1) is of the last checkpoint,
               model_at(run.steps.tolist().index(1000)) of step 1000
        Raises DeviError where there is no checkpoint.
        """
        from devi.checkpoints import rebuild

        self.check_matches(self.task)
        model = rebuild.built(self.task, self.metadata.get("seed"))
        place = int(self._at(index))
        rebuild.load(model, self._records.layout, self._records.one(place))
        return model.eval()

    def check_matches(self, task: Task) -> None:
        """Raise DeviError if names or shapes of task.model() are not the run's. Checked once for the run's own task."""
        if task is self._task and (self._has_checked or self.whole._has_checked):
            return
        from devi.checkpoints import rebuild

        model = rebuild.named(task, self.metadata, str(self.path))
        step = int(self.steps[0]) if len(self) else 0
        rebuild.check(model, task, self._records.layout, str(self.path), step, self.metadata)
        if task is self._task:
            self._has_checked = self.whole._has_checked = True

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        span = f", steps {self.steps[0]} to {self.steps[-1]}" if len(self) else ""
        size = counted(self.parameter_count, "parameter")
        return f"<Run {self.path}: {counted(len(self), 'checkpoint')}{span}, {size}>"

    def select(self, indices: Iterable[int] | np.ndarray | slice) -> Run:
        """A run of these checkpoints only."""
        chosen = indices if isinstance(indices, slice) else np.asarray(list(indices))
        if isinstance(chosen, np.ndarray) and not len(chosen):
            chosen = chosen.astype(np.int64)  # of nothing numpy makes floats; any others are no positions
        run = Run(self._records, self._at(chosen), self._given)
        run._task, run._has_checked, run._is_chosen = self._task, self._has_checked, True
        return run

    def _at(self, index: Index) -> Any:
        """The place, or the places, of what stands at these positions of the run."""
        places = np.asarray(self._places) if isinstance(index, np.ndarray) else self._places
        try:
            return places[index]
        except (IndexError, TypeError):
            count, steps = len(self), self.steps
            span = f"0 to {count - 1}, or {-count} to -1 from the end" if count else "a writer's first one"
            raise DeviError(
                f"{self.path} has {counted(count, 'checkpoint')}, and none at {shown(repr(index))}. Expected a"
                f" position, {span}; of a step: run.steps.tolist().index({steps[-1] if count else 0})."
            ) from None

    def block(self, start: int, stop: int) -> Run:
        """Checkpoints start to stop - 1; `.whole` is the run it was cut from, `.start` its place there."""
        run = self.select(slice(start, stop))
        run._whole = self.whole
        run.start = self.start + slice(start, stop).indices(len(self))[0]
        return run

    def refresh(self) -> int:
        """Take in what a writer has committed since; returns how many checkpoints that are. Blocks and selections stay
        as they are."""
        if self._is_chosen:
            return 0
        known = len(self._records.steps)
        new = self._records.refresh(is_live=self.is_live)
        if isinstance(self._places, range):
            self._places = range(known + new)
        else:
            self._places = np.concatenate([self._places, np.arange(known, known + new)])
        return new
