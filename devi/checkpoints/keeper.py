"""SlotKeeper: decides when a run's state is copied and when it is written to a resume slot."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from torch import nn

from devi.checkpoints.resume import Snapshot, snapshot, write_slot
from devi.checkpoints.store import Store

SLOT_SECONDS = 5.0  # a killed run recomputes at most about this much
SLOT_SHARE = 0.02  # of the time may go into writing slots: large states are written less often
SNAPSHOT_SHARE = 0.05  # of the time may go into copying the state, so that an interrupt loses next to nothing


class SlotKeeper:
    """Copies the state between optimizer steps, where it is consistent; an interrupt in mid-step writes the copy."""

    def __init__(self, folder: Path, state: dict[str, Any], store: Store) -> None:
        self.counter = 0
        self._folder, self._state, self._store = folder, state, store
        self._snapshot: Snapshot | None = None
        self._next_snapshot = self._next_slot = 0.0

    def keep_if_due(self, step: int, model: nn.Module) -> None:
        """Copy the state, and write it, unless that was done so recently that it would slow training down."""
        now = time.monotonic()
        if now < self._next_snapshot and now < self._next_slot:
            return
        self._snapshot = snapshot(step, model, self._state)
        copied = time.monotonic()
        self._next_snapshot = copied + (copied - now) / SNAPSHOT_SHARE
        if now >= self._next_slot:
            self.write()

    def keep(self, step: int, model: nn.Module) -> None:
        self._snapshot = snapshot(step, model, self._state)
        self.write()

    def write(self) -> None:
        """Write the latest copy, if it is not written yet; the records it builds on are made durable first."""
        if self._snapshot is None or self._store.run_id is None:
            return
        start = time.monotonic()
        self._store.sync()
        write_slot(self._folder, self.counter, self._store.run_id, self._snapshot)
        self._snapshot = None
        self.counter += 1
        end = time.monotonic()
        self._next_slot = end + max(SLOT_SECONDS, (end - start) / SLOT_SHARE)
