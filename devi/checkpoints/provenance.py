"""Provenance: what a run was made with, stored in each of its segments."""

from __future__ import annotations

import hashlib
import platform
import secrets
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

import devi
from devi.checkpoints.tensors import to_stored
from devi.checkpoints.userblock import json_bytes
from devi.contract import examples
from devi.errors import DeviError, shown, wrong_kind
from devi.plugins import name_of
from devi.task import Batch, Split, Task, settings_of

_NAMED_VALUES = ("settings", "training", "versions")  # what is read back key by key


def check_metadata(given: Mapping[str, Any]) -> None:
    """Raise DeviError for a value that cannot be written as JSON, and for one that would be misread."""
    if not isinstance(given, Mapping):
        raise wrong_kind("metadata", given, "names and values: metadata={'note': ...}")
    for key, value in given.items():
        if type(key) is not str:
            raise wrong_kind("a key of metadata", key, f"text: metadata={{'{shown(key)}': ...}}")
        if key in _NAMED_VALUES and type(value) is not dict:
            raise DeviError(
                f"metadata['{key}'] is {shown(repr(value))}, expected a dict: devi itself keeps names and values"
                " under this key. Call yours something else."
            )
        try:
            json_bytes({key: value})
        except (TypeError, ValueError, RecursionError) as error:
            raise DeviError(
                f"metadata['{key}'] cannot be stored: {error}. Expected text, finite numbers, lists and dicts of those."
            ) from None


def provenance(task: Task | None, model: nn.Module, given: Mapping[str, Any]) -> dict[str, Any]:
    """Task, settings, seed, versions, device, data hash, git commit, run id and time; `given` adds to and overrides
    it."""
    settings = {} if task is None else settings_of(task)
    return {
        "task": None if task is None else name_of("task", type(task)),
        "settings": settings,
        "seed": settings.get("seed"),
        "data_hash": given["data_hash"] if "data_hash" in given else data_hash(task),
        **environment(model),
        "git": git_state(),
        **given,
        "run_id": secrets.token_hex(16),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def environment(model: nn.Module) -> dict[str, Any]:
    """What decides the last bits of a computation, apart from the program."""
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    return {
        "versions": {
            "devi": devi.__version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "device": str(device),
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),  # sums are split among them, so their number changes the last bits
    }


def data_hash(task: Task | None, split: Split = "train") -> str | None:
    """SHA-256 of data(split): dtype, shape and bytes of inputs, then targets. None without a task or data."""
    batch = None if task is None else examples(task, split)
    return None if batch is None else batch_hash(batch)


def batch_hash(batch: Batch) -> str:
    """SHA-256 of dtype, shape and bytes of inputs, then targets."""
    state = hashlib.sha256()
    for tensor in batch:
        state.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
        state.update(np.ascontiguousarray(to_stored(tensor)).data)
    return state.hexdigest()


def git_state() -> dict[str, Any] | None:
    """Commit of the working directory's repository and whether tracked files differ from it; None if there is none."""
    try:
        commit, status = (
            subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=True).stdout.strip()
            for arguments in (("rev-parse", "HEAD"), ("--no-optional-locks", "status", "--porcelain", "-uno"))
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return {"commit": commit, "dirty": bool(status)}


@cache
def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
