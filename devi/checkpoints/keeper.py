"""SlotKeeper: decides when a run's state is copied and when it is written to a resume slot."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from torch import nn

from devi.checkpoints.resume import Snapshot, snapshot, write_slot
from devi.checkpoints.store import Store

SLOT_SECONDS = 5.0  # a killed run recomputes at most about this much
SLOT_SHARE = 0.01  # of the time may go into writing slots: large states are written less often
SNAPSHOT_SHARE = 0.005  # of the time may go into copying the state, so that an interrupt loses next to nothing
MOST_COPY_BYTES = 64 << 20  # a larger state is not copied, only written: memory for training comes first


class SlotKeeper:
    """Copies the state between optimizer steps, where it is consistent; an interrupt in mid-step writes the copy."""

    def __init__(self, folder: Path, state: dict[str, Any], store: Store) -> None:
        self.counter = 0
        self._folder, self._state, self._store = folder, state, store
        self._snapshot: Snapshot | None = None  # a copy that is not written yet
        self._next_snapshot = self._next_slot = 0.0

    def keep_if_due(self, step: int, model: nn.Module) -> None:
        """Copy the state, and write it, unless that was done so recently that it would slow training down."""
        now = time.monotonic()
        if now >= self._next_slot:
            self.keep(step, model)
        elif now >= self._next_snapshot:
            self._snapshot = snapshot(step, model, self._state).copied()
            copied = time.monotonic()
            self._next_snapshot = copied + (copied - now) / SNAPSHOT_SHARE

    def keep(self, step: int, model: nn.Module) -> None:
        """Write the state as it stands."""
        shot = snapshot(step, model, self._state)
        self._write(shot)
        if shot.size > MOST_COPY_BYTES:
            self._next_snapshot = math.inf

    def close(self) -> None:
        """Write the latest copy, if nothing later is written."""
        if self._snapshot is not None and self._store.run_id is not None:
            self._write(self._snapshot)

    def _write(self, shot: Snapshot) -> None:
        assert self._store.run_id is not None
        start = time.monotonic()
        self._store.sync()  # the records that the state builds on are made durable first
        write_slot(self._folder, self.counter, self._store.run_id, shot)
        self._snapshot = None
        self.counter += 1
        end = time.monotonic()
        self._next_slot = end + max(SLOT_SECONDS, (end - start) / SLOT_SHARE)
