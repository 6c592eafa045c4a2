"""Memory: how much of it work may take, from text like '4G' or half of what is free, and what its end looks like."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from devi.errors import DeviError

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
UNKNOWN = 4 * 2**30  # bytes taken to be free where the system does not tell
# What one gradient may keep on a processor for its backward pass: little, since models whose activations stay in the
# cache step 5 times faster (superposition: 15 against 75 µs per replica, 128 or 1000 at a time).
CACHED_ACTIVATIONS = 12 * 2**20  # bytes
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
# torch raises RuntimeError where a processor's memory ends, and a class of its own for each accelerator's.
_WORDS = ("out of memory", "can't allocate memory", "not enough memory")
_LIMIT: ContextVar[int | None] = ContextVar("limit", default=None)  # of `limited`


@contextmanager
def limited(size: int) -> Iterator[None]:
    """What asks for `allowed` here may take so many bytes."""
    token = _LIMIT.set(size)
    try:
        yield
    finally:
        _LIMIT.reset(token)


def allowed(device: str | None = None) -> int:
    """Bytes that the user left to the work that is going on, or half of what is free on the device."""
    limit = _LIMIT.get()
    return memory_bytes(None, device) if limit is None else limit


def memory_bytes(text: str | None, device: str | None = None) -> int:
    """Bytes meant by '512M', '4G', '1.5 GiB'; without text half of what is free on the device."""
    if text is None:
        return free_memory(device) // 2
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * UNITS[match[2].upper()]) if match else 0
    if size < 1 << 20:
        raise DeviError(f"--memory '{text}' is no amount of memory. Expected at least 1M, e.g. --memory 4G or 512M")
    return size


def free_memory(device: str | None = None) -> int:
    """Bytes that could be allocated now without swapping, in this container; of a CUDA device its own."""
    if device is not None and device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    known = [_available(), _left_in_container()]
    return min([size for size in known if size is not None], default=UNKNOWN)


def saved_bytes(work: Callable[[], object]) -> int:
    """Bytes that autograd keeps of `work`, a computation of torch, for its gradient."""
    import torch

    saved = 0

    def count(value: torch.Tensor) -> torch.Tensor:
        nonlocal saved
        saved += value.numel() * value.element_size()
        return value

    with torch.autograd.graph.saved_tensors_hooks(count, lambda value: value):
        work()
    return saved


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller piece of work might have gone well."""
    is_allocators = isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)
    return isinstance(error, MemoryError) or is_allocators


@contextmanager
def fitting(what: str, remedy: str) -> Iterator[None]:
    """What ends for want of memory here becomes a DeviError: `what` does not fit, and what to do about it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviError(f"{what} does not fit into memory ({str(error)[:160]}). {remedy}") from None


def _available() -> int | None:
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return None


def _left_in_container() -> int | None:
    """Of a control group (version 2) with a limit; its file cache counts as used, which errs on the safe side."""
    limit, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    return max(0, int(limit) - int(used)) if limit.isdecimal() and used.isdecimal() else None


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
