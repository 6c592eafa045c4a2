"""Recorder: writes the checkpoints of a run, in devi's trainer and in anybody's training loop."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import nn

from devi.checkpoints.folder import COMMAND, CONVERSION, PYTHON, check_usable, refusal
from devi.checkpoints.forked import Opener
from devi.checkpoints.keeper import SlotKeeper
from devi.checkpoints.lock import WriterLock
from devi.checkpoints.provenance import check_metadata, environment, provenance
from devi.checkpoints.rebuild import misfit
from devi.checkpoints.rerun import check_same_bytes, check_same_layout, check_same_run, elsewhere
from devi.checkpoints.resume import apply, newest_slot
from devi.checkpoints.segment import SEGMENT_BYTES
from devi.checkpoints.source import Source, checked_count, checked_step
from devi.checkpoints.state import checked_state
from devi.checkpoints.steady import Steady, steady
from devi.checkpoints.store import Store
from devi.checkpoints.tensors import unwrapped
from devi.errors import DeviError, wrong_kind
from devi.task import Task


class Recorder:
    """Records checkpoints of a model to the directory `path`; a killed process loses nothing that was recorded.

        with Recorder(path, task, state={"optimizer": optimizer}) as record:
            for step in range(1000):
                record(step, model, train_loss=loss)   # first in the loop: what follows is what a resumed run repeats
                ...

    state      objects with state_dict, or random generators, that a resumed run needs besides the model and the
               global random generators; {} if there are none. Without it the run cannot be resumed. Gradients are not
               kept: record where none are being accumulated, and a DataLoader (its generator in `state`) begins anew.
    metadata   JSON values stored with the run; `task`, `seed`, `device`, `data_hash` replace what is found by itself
    expected   number of checkpoints, if it is known
    notice     takes what the user should know; by default it goes to stderr

    It records in the process that made it; of threads that call it at once one waits for the other, and their steps
    must increase all the same. A forked process that leaves the `with` closes nothing.

    Raises DeviError for a path that holds something else, a run that another process writes, a full disk.
    """

    def __init__(
        self,
        path: str | Path,
        task: Task | None = None,
        *,
        state: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        resume: bool = False,
        expected: int | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        if not isinstance(task, Task | None):
            name = task.__name__ if isinstance(task, type) else "MyTask"
            raise wrong_kind("the task", task, f"an instance of a devi.Task: {name}().")
        self.path = Path(path)
        self.notices: list[str] = []
        self._notice = partial(_tell, self.notices, notice)  # no method: a forgotten Recorder must be free at once
        check_metadata(metadata or {})
        self._task, self._given = task, dict(metadata or {})
        self._is_ours = bool({"training", "converted"} & {*self._given})  # the model is made of the task
        self._words = CONVERSION if "converted" in self._given else COMMAND if self._is_ours else PYTHON
        self._state = None if state is None else checked_state(state)
        expected = None if expected is None else checked_count("expected", expected, 0, self.path)
        segment_bytes = checked_count("segment_bytes", segment_bytes, 1, self.path)
        self._previous, self._has_told_gap = -1, False  # the last step recorded here; whether one that is lost was told
        self._resume, self._restored = resume, False
        self._source: Source | None = None
        self._steady: Steady | None = None  # None: the next record goes the long way
        self._has_told_bits_differ = self._is_closed = False
        self._opener = Opener(self)
        with self._told_in_words():
            check_usable(self.path, resume, self._words)
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = WriterLock(self.path, self._notice)
        try:
            with self._told_in_words():
                # Again: another writer may have come and gone before we held the lock.
                check_usable(self.path, resume, self._words)
                for leftover in self.path.glob(".*.h5.*.tmp"):
                    leftover.unlink()
                self._store = Store(self.path, segment_bytes=segment_bytes, expected=expected)
                self._store.load()
                self._keeper = None if state is None else SlotKeeper(dict(state), self._store, self._notice)
        except BaseException:
            self._lock.release()
            raise
        for finding in self._store.findings:
            self._notice(f"{self.path}: {finding}.")
        if state is None and "converted" not in self._given:  # a conversion has no training to go on with
            self._notice(
                f"{self.path}: recorded without `state`, so this run can be read but not resumed after an interrupt."
                " To change that: Recorder(path, task, state={'optimizer': optimizer})."
            )

    def __call__(self, step: int, model: nn.Module, **scalars: float) -> None:
        """Record checkpoint `step`: the model's parameters and persistent buffers, and named numbers.

        A step that is stored already (after a resume) must give the stored bytes.
        """
        if type(step) is not int:
            step = checked_step(step, self.path)
        with self._opener.turn:
            as_before = self._steady
            try:
                if as_before is None or not as_before(step, model, scalars):
                    self._record(checked_step(step, self.path), model, scalars)
            except OSError as error:
                raise refusal(self.path, self._store.last_step, error, self._words) from None
            self._previous = step

    record = __call__

    def release(self) -> None:
        """Let go of the last model's memory, for a caller that puts other tensors into it before it records again."""
        self._steady = None

    def restore(self, model: nn.Module, *, end: int | None = None) -> int | None:
        """Load the newest intact resume slot into the model, the `state` objects and all random generators.

        Returns the step it stands at: the next thing to do is what followed record(step, …). None if nothing
        can be resumed: training starts at its beginning, and what is recorded again must equal what is stored.

        end  the last step of training: a run that stands there does not go on, on whatever versions or device
        """
        if not self._resume:
            raise DeviError(f"{self.path}: restore() needs Recorder(..., resume=True).")
        self._restored = True
        slot, problems = newest_slot(self._store.folder, self._store.run_id)
        for problem in problems:
            self._notice(f"{self.path}: {problem}")
        if slot is None:
            if self._store.last_step is not None:
                self._notice(
                    f"{self.path}: no intact resume slot, so training starts at its beginning;"
                    f" steps up to {self._store.last_step} are compared with what is stored."
                )
            return None
        for missing in apply(slot, unwrapped(model), self._state or {}, self.path):
            self._notice(f"{self.path}: {missing}.")
        here = {**environment(unwrapped(model)), **self._given}
        changed = elsewhere(self.path, slot.step, self._store.metadata, here)
        if changed is not None and slot.step != end:
            self._notice(changed)
        if self._keeper is not None:
            self._keeper.counter = slot.counter + 1
        if self._store.last_step is None or self._store.last_step < slot.step:
            self._notice(f"{self.path}: goes on at step {slot.step}; the last stored step is {self._store.last_step}.")
        return slot.step

    def keep(self, step: int, model: nn.Module) -> None:
        """Write a resume slot now. Call it between two optimizer steps only."""
        with self._opener.turn, self._told_in_words():
            self._check_open()
            if self._keeper is None or self._store.last_step is None:
                raise DeviError(
                    f"{self.path}: keep() needs `state` and one recorded checkpoint: Recorder(path, state={{…}})."
                )
            self._keeper.keep(checked_step(step, self.path), unwrapped(model))

    def close(self) -> None:
        """Write the last state that was copied and the last segment at its exact size, and let the run go."""
        if not self._opener.is_here:  # a worker that ends: its parent goes on with these files
            self._is_closed, self._source, self._steady = True, None, None
            return
        with self._opener.turn:
            if self._is_closed:
                return
            self._is_closed, self._source, self._steady = True, None, None
            try:
                with self._told_in_words():
                    try:
                        if self._keeper is not None:
                            self._keeper.close()
                    finally:
                        self._store.close()
            finally:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except DeviError as problem:
            if error is None:
                raise
            self._notice(str(problem))  # what broke the loop is what the user must see

    def _record(self, step: int, model: nn.Module, scalars: Mapping[str, Any]) -> None:
        """The long way, which looks at everything anew; after it the short one is open again."""
        source, store = self._source, self._store
        self._check_open()
        if step <= self._previous:
            raise DeviError(f"{self.path}: step {step} was recorded after step {self._previous}. Steps must increase.")
        self._steady = None
        if source is None or not source.is_still(model):
            source = self._bind(model, tuple(scalars))
        still = source.copy_to(store.buffer, step, scalars, self.path)
        attend = partial(_attend, store, self._keeper, source.inner)
        if store.last_step is None or step > store.last_step:
            store.append(step)
            if still is not None:
                self._steady = steady(still, store, attend)
        else:
            self._compare(step)
        attend(step)

    def _bind(self, model: nn.Module, scalars: tuple[str, ...]) -> Source:
        """Fix where each field comes from; at the first record, the layout."""
        store = self._store
        if store.layout is None:
            source = Source(model, scalars)
            metadata = provenance(self._task, unwrapped(model), self._given)
            store.start(source.layout, metadata)
            theirs = None if self._is_ours else self._task
            if theirs is not None and (wrong := misfit(theirs, source.layout, metadata, self.path)):
                self._notice(wrong)
        else:
            source = Source(model, store.layout.scalars)
            check_same_layout(self.path, store.layout, source.layout)
            if self._source is None:
                self._check_same_run(unwrapped(model))
        self._source = source
        return source

    def _check_open(self) -> None:
        if self._is_closed:
            raise DeviError(f"{self.path}: this Recorder is closed. To go on: Recorder(path, ..., resume=True).")
        self._opener.check(self.path)

    def _check_same_run(self, model: nn.Module) -> None:
        if not self._restored and self._state is not None and newest_slot(self._store.folder, self._store.run_id)[0]:
            raise DeviError(
                f"{self.path}: this run has a resume slot. Before the first checkpoint: start = record.restore(model)"
            )
        self._now = provenance(self._task, model, self._given)
        check_same_run(self.path, self._store.metadata, self._now)

    def _compare(self, step: int) -> None:
        """A step that is not after the last one must be stored already, with these bytes."""
        store = self._store
        stored = store.stored(step)
        if stored is None:
            if step == store.last_step:  # committed just before a Ctrl-C that the loop went on from
                return
            if store.has_gaps:
                lost = f"{self.path}: step {step} is among what is damaged or lost, and stays out of the run"
                if not self._has_told_gap:  # there may be thousands
                    self._notice(f"{lost}; later ones that are lost are not told one by one.")
                self._has_told_gap = True
                return
            raise DeviError(
                f"{self.path}: step {step} was recorded after step {store.last_step}, and is not stored."
                " Steps must increase; after a resume the checkpoint schedule must be the same as before."
            )
        assert store.layout is not None
        notice = check_same_bytes(self.path, step, store.buffer, store.layout, stored, store.metadata, self._now)
        if notice is not None and not self._has_told_bits_differ:
            self._has_told_bits_differ = True
            self._notice(notice)

    @contextlib.contextmanager
    def _told_in_words(self) -> Iterator[None]:
        """What the operating system refuses becomes a DeviError that says what is safe."""
        try:
            yield
        except OSError as error:
            store = getattr(self, "_store", None)
            raise refusal(self.path, None if store is None else store.last_step, error, self._words) from None


def _attend(store: Store, keeper: SlotKeeper | None, model: nn.Module, step: int) -> float:
    """Do what is due between two records; the time (monotonic) when something will be next."""
    store_due = store.look_after()
    return store_due if keeper is None else min(store_due, keeper.keep_if_due(step, model))


def _tell(notices: list[str], show: Callable[[str], None] | None, text: str) -> None:
    notices.append(text)
    if show is None:
        print(f"devi: {text}", file=sys.stderr)
    else:
        show(text)
