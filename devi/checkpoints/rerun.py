"""Rerun: what a resumed run must share with the stored one, and the words for what it does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from devi.checkpoints.layout import DIGEST_BYTES, Layout
from devi.checkpoints.record import RecordBuffer
from devi.checkpoints.tensors import to_values
from devi.errors import DeviError

# What may decide the last bits. seeds_at_once: with how many others a run was computed, see devi/seeds.py
_ENVIRONMENT = ("devi", "torch", "numpy", "python", "device", "hardware", "threads", "seeds_at_once")


class Differs(DeviError):
    """A step that is not what is stored of it; `where`, in words."""

    def __init__(self, text: str, where: str) -> None:
        super().__init__(text)
        self.where = where


def check_same_run(path: Path, stored: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise DeviError unless task, seed, data and settings are those in the run's metadata."""
    pairs = {name: (stored.get(name), now.get(name)) for name in ("task", "seed", "data_hash")}
    old, new = stored.get("settings") or {}, now.get("settings") or {}
    # `steps` alone may grow: training is then prolonged
    pairs |= {name: (old.get(name), new.get(name)) for name in {*old, *new} - {"steps"}}
    for name, (was, given) in sorted(pairs.items()):
        if was != given:
            raise DeviError(
                f"{path} was recorded with {name} = {was!r}; now it is {given!r}."
                f" Resume with {name} = {was!r}, or record to another path."
            )


def check_same_layout(path: Path, stored: Layout, now: Layout) -> None:
    if now == stored:
        return
    old, new = (_forms(layout) for layout in (stored, now))
    for name in [*old, *new]:
        if old.get(name) != new.get(name):
            raise DeviError(
                f"{path}: '{name}' is {new.get(name, 'not in the model')} now and {old.get(name, 'absent')} in the run"
                " so far. One run has one layout: build the model as before, or record to another path."
            )
    raise DeviError(
        f"{path}: the model's parameters changed their order. Build it as before, or record to another path."
    )


def _forms(layout: Layout) -> dict[str, str]:
    """What each name of a tensor stands for, in words."""
    forms = {tensor.name: f"{tensor.dtype} {tensor.shape}" for tensor in layout.tensors}
    return forms | {name: f"tied to '{tensor.name}'" for tensor in layout.tensors for name in tensor.tied}


def check_same_bytes(
    path: Path,
    step: int,
    buffer: RecordBuffer,
    layout: Layout,
    stored: bytearray,
    then: Mapping[str, Any],
    now: Mapping[str, Any],
) -> str | None:
    """What differs between a stored record (without its digest) and the same step computed again.

    None if nothing does, a notice if the run was made on other versions or another device, else Differs is raised; for
    a conversion always: bits that are only copied are the same everywhere.
    """
    if buffer.bytes[:-DIGEST_BYTES] == stored:
        return None
    old = np.frombuffer(stored + bytes(DIGEST_BYTES), layout.dtype)[0]
    where = _difference(layout, old, buffer.record)
    text = f"{path}: step {step}, computed again, differs from what is stored: {where}."
    changed = _changes(then, now)
    if not changed or "converted" in then:
        raise Differs(
            f"{text} On the same versions and device it should be equal to the last bit: is something random drawn in"
            " the loop before record(), is the model run there in train mode, which changes BatchNorm's buffers, is"
            " something random or stateful missing from `state`, or was the code changed? Record to another path to"
            " start over.",
            where,
        )
    return f"{text} The stored one is kept. The run was made elsewhere ({'; '.join(changed)})."


def elsewhere(path: Path, step: int, then: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What to tell who resumes at `step` on other versions or another device than the run was begun on."""
    changed = _changes(then, now)
    if not changed:
        return None
    return (
        f"{path}: goes on at step {step}, but the run was begun elsewhere ({'; '.join(changed)}):"
        " from here on the last bits may differ from those of an uninterrupted run."
    )


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """'torch 2.12.0 then, 2.13.0 now', for each part of the environment that changed."""
    before, after = ({"seeds_at_once": 1, **where, **(where.get("versions") or {})} for where in (then, now))
    return [
        f"{name} {before.get(name)} then, {after.get(name)} now"
        for name in _ENVIRONMENT
        if before.get(name) != after.get(name)
    ]


def _difference(layout: Layout, stored: np.void, new: np.void) -> str:
    """Which fields differ, and by how much, in words: 'W by up to 1e-7, train_loss by up to 3e-9'."""
    words = []
    kinds: Mapping[str | None, str] = {t.field: t.dtype for t in layout.tensors}
    for name in (layout.dtype.names or ())[1:-1]:
        a, b = (np.asarray(record[name]) for record in (stored, new))
        if a.tobytes() != b.tobytes():
            a, b = (np.atleast_1d(to_values(x, kinds.get(name, "float64"))).astype(complex) for x in (a, b))
            words.append(f"{name} by up to {np.nanmax(np.abs(a - b), initial=0.0):.1e}")
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")
