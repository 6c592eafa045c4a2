"""SlotKeeper: decides when a run's state is copied and when it is written to a resume slot."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from torch import nn

from devi.checkpoints.resume import Snapshot, advice, snapshot, write_slot
from devi.checkpoints.slot_file import SLOTS, counter_of
from devi.checkpoints.store import Store
from devi.checkpoints.userblock import BlockError
from devi.checkpoints.whereabouts import check_is_here

SLOT_SECONDS = 10.0  # a killed run recomputes at most about this much; one that is told to end, next to nothing
SLOT_SHARE = 0.01  # of the time may go into writing slots: large states are written less often
SNAPSHOT_SHARE = 0.001  # of the time may go into copying the state, so that an interrupt loses next to nothing
MOST_COPY_BYTES = 64 << 20  # a larger state is not copied, only written: memory for training comes first


class SlotKeeper:
    """Copies the state between optimizer steps, where it is consistent; an interrupt in mid-step writes the copy.

    A copy is written in the thread that syncs, once the records that it builds on are durable: training goes on.
    It also does if a state does not fit into a slot, which `tell` then says, once.
    """

    def __init__(self, state: dict[str, Any], store: Store, tell: Callable[[str], None]) -> None:
        on_disk = [number for name in SLOTS if (number := counter_of(store.folder / name)) is not None]
        self.counter = 1 + max(on_disk, default=-1)  # the slot with the highest one wins
        self._state, self._store, self._tell = state, store, tell
        self._misfit, self._has_told = "", False
        self._snapshot: Snapshot | None = None  # the latest copy
        self._written_step = -1
        self._next_snapshot = self._next_slot = 0.0

    def keep_if_due(self, step: int, model: nn.Module) -> float:
        """Copy the state, and have it written, unless that was done so recently that it would slow training down.

        Returns the time (monotonic) when it will be due.
        """
        now = time.monotonic()
        is_due = now >= self._next_slot and not self._store.is_syncing
        if is_due or now >= self._next_snapshot:
            self._keep_copy(step, model, now, is_due)
        return min(self._next_slot, self._next_snapshot)

    def _keep_copy(self, step: int, model: nn.Module, now: float, is_due: bool) -> None:
        self._tell_misfit()
        shot = self._taken(step, model)
        if shot.size > MOST_COPY_BYTES:
            self._next_snapshot = math.inf
            if is_due:
                self._write_now(shot)
            return
        self._snapshot = copied = shot.copied()
        if is_due:
            self._store.sync_then(lambda: self._write(copied))
        else:
            copied_at = time.monotonic()
            self._next_snapshot = copied_at + (copied_at - now) / SNAPSHOT_SHARE

    def keep(self, step: int, model: nn.Module) -> None:
        """Write the state as it stands, and return when that is done."""
        self._write_now(self._taken(step, model))
        self._tell_misfit()

    def close(self) -> None:
        """Write the latest copy, if nothing later is written."""
        self._store.sync()  # also waits for the thread
        if self._snapshot is not None and self._snapshot.step > self._written_step and self._store.run_id is not None:
            self._write(self._snapshot)
        self._tell_misfit()

    def _tell_misfit(self) -> None:
        """In the thread that trains: what takes notices need not expect them from another."""
        if self._misfit and not self._has_told:
            self._has_told = True
            self._tell(self._misfit)

    def _taken(self, step: int, model: nn.Module) -> Snapshot:
        assert self._store.last_step is not None
        return snapshot(step, self._store.last_step, model, self._state)

    def _write_now(self, shot: Snapshot) -> None:
        self._store.sync()  # the records that the state builds on are made durable first
        self._write(shot)

    def _write(self, shot: Snapshot) -> None:
        assert self._store.run_id is not None
        start = time.monotonic()
        check_is_here(self._store.folder, self._store.run_id, self._store.named)
        try:
            write_slot(self._store.folder, self.counter, self._store.run_id, shot)
            self._written_step = shot.step
            self.counter += 1
        except (BlockError, UnicodeEncodeError, RecursionError) as error:
            self._misfit = (
                f"{self._store.named}: the state at step {shot.step} does not fit into a resume slot: {error}."
                f" {advice(shot)} Recording goes on; a resume would begin at an earlier one, or at the start."
            )
        end = time.monotonic()
        self._next_slot = end + max(SLOT_SECONDS, (end - start) / SLOT_SHARE)
