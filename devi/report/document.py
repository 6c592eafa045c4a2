"""transitions.json: what happened in a run, as data, in the schema `devi/transitions/1`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from devi.analysis import Analysis

SCHEMA = "devi/transitions/1"


def transitions_document(analysis: Analysis) -> dict[str, Any]:
    """The document of one run: plain JSON values, steps in optimizer steps, NaN and infinity as null."""
    return document(
        analysis.run,
        analysis.trajectories["step"].values,
        transitions=analysis.transitions,
        stages=analysis.stages,
        left_out=analysis.skipped,
        settings=analysis.settings,
    )


def document(
    run: Mapping[str, Any],
    steps: np.ndarray,
    *,
    transitions: Iterable[Any],
    stages: Iterable[Any],
    left_out: Iterable[Any],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The document of anything that has transitions. run: what is known of it, at least its name; steps (step,)."""
    return plain(
        {
            "schema": SCHEMA,
            "run": run,
            "steps": {
                "first": steps[0] if len(steps) else None,
                "last": steps[-1] if len(steps) else None,
                "count": len(steps),
            },
            "transitions": records(transitions),
            "stages": records(stages),
            "skipped": skipped(left_out),
            "settings": settings,
        }
    )


def write_document(analysis: Analysis, path: Path) -> Path:
    # allow_nan=False: a bare NaN is no JSON, and other languages' readers refuse it.
    text = json.dumps(transitions_document(analysis), indent=2, ensure_ascii=False, allow_nan=False)
    # A path may hold bytes that are no text, which Python has as \udc80 to \udcff: JSON writes them just so.
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    return path


def records(things: Iterable[Any]) -> list[dict[str, Any]]:
    """Transitions or stages as plain dictionaries; dictionaries (read back from a file) pass through."""
    return [plain(thing if isinstance(thing, Mapping) else thing.to_json()) for thing in things]


def skipped(entries: Iterable[Any]) -> list[dict[str, str]]:
    """Metrics that were not searched, from Skipped objects or (metric, reason) pairs."""
    pairs = [entry if isinstance(entry, tuple) else (entry.metric, entry.reason) for entry in entries]
    return [{"metric": str(metric), "reason": str(reason)} for metric, reason in pairs]


def plain(value: Any) -> Any:
    """`value` with every number, array, mapping and path turned into what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
