"""Recorder: writes the checkpoints of a run, in devi's trainer and in anybody's training loop."""

from __future__ import annotations

import contextlib
import errno
import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from torch import Tensor, nn

from devi.checkpoints.keeper import SlotKeeper
from devi.checkpoints.lock import NAME as LOCK_NAME
from devi.checkpoints.lock import WriterLock
from devi.checkpoints.provenance import provenance
from devi.checkpoints.record import Layout, describe_difference, layout_of, to_stored, unwrapped
from devi.checkpoints.resume import SLOTS, apply, newest_slot
from devi.checkpoints.segment import SEGMENT_BYTES, segment_paths
from devi.checkpoints.state import get_state
from devi.checkpoints.store import Store, as_record, same_bytes
from devi.errors import DeviError
from devi.task import Task


class Recorder:
    """Records checkpoints of a model to the directory `path`; a killed process loses nothing that was recorded.

        with Recorder(path, task, state={"optimizer": optimizer}) as record:
            for step in range(1000):
                record(step, model, train_loss=loss)   # first in the loop: what follows is what a resumed run repeats
                ...

    state      objects with state_dict, or random generators, that a resumed run needs besides the model and the
               global random generators; {} if there are none. Without it the run cannot be resumed.
    metadata   JSON values stored with the run; `task`, `seed`, `device`, `data_hash` replace what is found by itself
    expected   number of checkpoints, if it is known
    notice     takes what the user should know; by default it goes to stderr

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
        self.path = Path(path)
        self.notices: list[str] = []
        self._show = notice
        self._task, self._given = task, dict(metadata or {})
        self._state = None if state is None else dict(state)
        for name, thing in (self._state or {}).items():
            get_state(name, thing)  # raises DeviError now rather than at the first checkpoint
        self._previous: int | None = None  # the last step recorded here
        self._resume, self._restored = resume, False
        self._model: nn.Module | None = None
        self._signature: tuple[list[nn.Module], int] | None = None
        self._names: frozenset[str] = frozenset()
        self._places: list[tuple[dict[str, Any], str]] = []
        self._has_told_bits_differ = self._is_closed = False
        with self._told_in_words():
            _check_usable(self.path, resume)
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = WriterLock(self.path, self._notice)
        try:
            with self._told_in_words():
                _check_usable(self.path, resume)  # again: another writer may have come and gone before we held the lock
                for leftover in self.path.glob(".*.h5.*.tmp"):
                    leftover.unlink()
                self._store = Store(self.path, segment_bytes=segment_bytes, expected=expected)
                self._store.load()
                self._keeper = None if state is None else SlotKeeper(self.path, dict(state), self._store)
        except BaseException:
            self._lock.release()
            raise
        for finding in self._store.findings:
            self._notice(f"{self.path}: {finding}.")
        if state is None:
            self._notice(
                f"{self.path}: recorded without `state`, so this run can be read but not resumed after an interrupt."
                " To change that: Recorder(path, task, state={'optimizer': optimizer})."
            )

    def __call__(self, step: int, model: nn.Module, **scalars: float) -> None:
        """Record checkpoint `step`: the model's parameters and persistent buffers, and named numbers.

        A step that is stored already (after a resume) must give the stored bytes.
        """
        if model is not self._model or _signature(unwrapped(model)) != self._signature:
            self._bind(model, tuple(scalars))
        if scalars.keys() != self._names:
            self._refuse_scalars(scalars)
        store, buffer = self._store, self._store.buffer
        step = operator.index(step)
        if self._previous is not None and step <= self._previous:
            raise DeviError(f"{self.path}: step {step} was recorded after step {self._previous}. Steps must increase.")
        buffer.step[...] = step
        for view, name in zip(buffer.scalars, store.layout.scalars, strict=True):  # type: ignore[union-attr]
            value = scalars[name]
            view[...] = value.detach().item() if isinstance(value, Tensor) else float(value)
        for view, (owner, key) in zip(buffer.tensors, self._places, strict=True):
            source = to_stored(owner[key])
            if source.shape != view.shape or source.dtype != view.dtype:  # copyto would broadcast and convert
                raise self._changed(key, source, view)
            np.copyto(view, source)
        with self._told_in_words():
            if store.last_step is None or step > store.last_step:
                store.append()
            else:
                self._compare(step)
            if self._keeper is not None:
                self._keeper.keep_if_due(step, unwrapped(model))
        self._previous = step

    record = __call__

    def restore(self, model: nn.Module) -> int | None:
        """Load the newest intact resume slot into the model, the `state` objects and all random generators.

        Returns the step it stands at: the next thing to do is what followed record(step, …). None if nothing
        can be resumed: training starts at its beginning, and what is recorded again must equal what is stored.
        """
        if not self._resume:
            raise DeviError(f"{self.path}: restore() needs Recorder(..., resume=True).")
        self._restored = True
        slot, problems = newest_slot(self.path, self._store.run_id)
        for problem in problems:
            self._notice(problem)
        if slot is None:
            if self._store.last_step is not None:
                self._notice(
                    f"{self.path}: no intact resume slot, so training starts at its beginning;"
                    f" steps up to {self._store.last_step} are compared with what is stored."
                )
            return None
        missing = apply(slot, unwrapped(model), self._state or {}, self.path)
        if missing is not None:
            self._notice(f"{self.path}: {missing}.")
        if self._keeper is not None:
            self._keeper.counter = slot.counter + 1
        if self._store.last_step is None or self._store.last_step < slot.step:
            self._notice(f"{self.path}: goes on at step {slot.step}; the last stored step is {self._store.last_step}.")
        return slot.step

    def keep(self, step: int, model: nn.Module) -> None:
        """Write a resume slot now. Call it between two optimizer steps only."""
        if self._keeper is None or self._store.run_id is None:
            raise DeviError(
                f"{self.path}: keep() needs `state` and one recorded checkpoint: Recorder(path, state={{…}})."
            )
        with self._told_in_words():
            self._keeper.keep(step, unwrapped(model))

    def close(self) -> None:
        """Write the last state that was copied and the last segment at its exact size, and let the run go."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            with self._told_in_words():
                if self._keeper is not None:
                    self._keeper.write()
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

    def _bind(self, model: nn.Module, scalars: tuple[str, ...]) -> None:
        """Fix where each field comes from; at the first record, the layout."""
        if self._is_closed:
            raise DeviError(f"{self.path}: this Recorder is closed. To go on: Recorder(path, ..., resume=True).")
        inner, store = unwrapped(model), self._store
        if store.layout is None:
            layout, self._places = layout_of(inner, scalars)
            store.start(layout, provenance(self._task, inner, self._given))
        else:
            layout, self._places = layout_of(inner, store.layout.scalars)
            if layout != store.layout:
                raise DeviError(f"{self.path}: {_layout_change(store.layout, layout)}")
            if self._model is None:
                self._check_same_run(inner)
        self._names = frozenset(layout.scalars)
        self._model, self._signature = model, _signature(inner)

    def _check_same_run(self, model: nn.Module) -> None:
        if not self._restored and self._state is not None and newest_slot(self.path, self._store.run_id)[0]:
            raise DeviError(
                f"{self.path}: this run has a resume slot. Before the first checkpoint: start = record.restore(model)"
            )
        self._now = provenance(self._task, model, self._given)
        stored = self._store.metadata
        pairs = {name: (stored.get(name), self._now.get(name)) for name in ("task", "seed", "data_hash")}
        old, new = stored.get("settings") or {}, self._now.get("settings") or {}
        # `steps` alone may grow: training is then prolonged
        pairs |= {name: (old.get(name), new.get(name)) for name in {*old, *new} - {"steps"}}
        for name, (was, given) in sorted(pairs.items()):
            if was != given:
                raise DeviError(
                    f"{self.path} was recorded with {name} = {was!r}; now it is {given!r}."
                    f" Resume with {name} = {was!r}, or record to another --out."
                )

    def _compare(self, step: int) -> None:
        """A step that is not after the last one must be stored already, with these bytes."""
        store = self._store
        stored = store.stored(step)
        if stored is None:
            if any(finding.kind == "damaged" for finding in store.findings):
                self._notice(f"{self.path}: step {step} is among the damaged records and stays out of the run.")
                return
            raise DeviError(
                f"{self.path}: step {step} was recorded after step {store.last_step}, and is not stored."
                " Steps must increase; after a resume the checkpoint schedule must be the same as before."
            )
        if same_bytes(store.buffer, stored):
            return
        assert store.layout is not None
        where = describe_difference(store.layout, as_record(store.layout, stored), store.buffer.record)
        text = f"{self.path}: step {step}, computed again, differs from what is stored: {where}."
        keys = ("versions", "device", "hardware", "threads")
        then, now = store.metadata, self._now
        changed = [f"{key}: {then.get(key)} then, {now[key]} now" for key in keys if then.get(key) != now[key]]
        if not changed:
            raise DeviError(
                f"{text} On the same versions and device it should be equal to the last bit: is something random or"
                " stateful missing from `state`, or was the code changed? Record to another --out to start over."
            )
        if not self._has_told_bits_differ:
            self._has_told_bits_differ = True
            self._notice(f"{text} The stored one is kept. The run was made elsewhere ({'; '.join(changed)}).")

    def _changed(self, key: str, source: np.ndarray, view: np.ndarray) -> DeviError:
        return DeviError(
            f"{self.path}: parameter '{key}' is now {source.dtype} of shape {source.shape}; the run began with"
            f" {view.dtype} of shape {view.shape}, and a run has one layout. Record the changed model to another path."
        )

    def _refuse_scalars(self, scalars: Mapping[str, float]) -> None:
        given, fixed = sorted(scalars), sorted(self._names)
        raise DeviError(
            f"{self.path}: got scalars {given}; the first checkpoint fixed them as {fixed}."
            " Give the same ones each time, float('nan') where there is no value."
        )

    def _notice(self, text: str) -> None:
        self.notices.append(text)
        if self._show is None:
            print(f"devi: {text}", file=sys.stderr)
        else:
            self._show(text)

    @contextlib.contextmanager
    def _told_in_words(self) -> Iterator[None]:
        """What the operating system refuses becomes a DeviError that says what is safe."""
        try:
            yield
        except OSError as error:
            store = getattr(self, "_store", None)
            last = None if store is None else store.last_step
            safe = "Nothing was recorded yet." if last is None else f"Every checkpoint up to step {last} is safe."
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise DeviError(
                    f"{self.path}: the disk is full. {safe} Free some space, then go on with --resume."
                ) from None
            raise DeviError(
                f"{self.path}: cannot write here: {error.strerror or error}. {safe}"
                " Expected a directory that you may write to: give another --out."
            ) from None


def _check_usable(path: Path, resume: bool) -> None:
    """A path is used if it is free, or if it holds a run and that is to be resumed."""
    if path.exists() and not path.is_dir():
        raise DeviError(f"{path} is a file; a run is a directory. Give another --out.")
    if not path.exists():
        return
    names = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")} - {LOCK_NAME}
    if segment_paths(path) or names & set(SLOTS):
        if not resume:
            raise DeviError(f"{path} already holds a run. To go on with it: --resume. To keep it: give another --out.")
    elif names:
        some = ", ".join(sorted(names)[:3])
        raise DeviError(f"{path} holds something that is no run ({some}). Nothing was touched; give another --out.")


def _signature(model: nn.Module) -> tuple[list[nn.Module], int]:
    """Changes when a module is replaced or a parameter or buffer comes or goes; a few tenths of a µs per module."""
    modules = [model]
    for module in modules:  # grows while it is walked
        modules.extend(child for child in module._modules.values() if child is not None)
    return modules, sum(len(module._parameters) + len(module._buffers) for module in modules)


def _layout_change(stored: Layout, now: Layout) -> str:
    old, new = ({t.name: f"{t.dtype} {t.shape}" for t in layout.tensors} for layout in (stored, now))
    for name in [*old, *new]:
        if old.get(name) != new.get(name):
            return (
                f"'{name}' is {new.get(name, 'not in the model')} now and {old.get(name, 'absent')} in the run so far."
                " One run has one layout: build the model as before, or record to another --out."
            )
    return "the model's parameters changed their order or ties. Build it as before, or record to another --out."
