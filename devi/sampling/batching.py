"""Batching: whether torch.vmap can take all replicas of a model in one pass, and a notice of the cost where not."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch

from devi.errors import DeviError, Notice

FALLBACK = re.compile(r"batching rule for (aten::\w+)")
FUSED_ATTENTION = "aten::_scaled_dot_product"


class Attempt(NamedTuple):
    """What came of computing several replicas at once: why it cannot be done, if so, and what is slow about it."""

    obstacle: str | None
    slow: list[str]  # operations that vmap takes one replica after another


def can_batch(model: str, attempt: Callable[[], object]) -> bool:
    """Whether `attempt`, a loss and its gradient for one replica, works inside vmap; warns if not, or slowly."""
    obstacle, slow = attempted(attempt)
    if obstacle is not None:
        warnings.warn(
            f"{model} cannot be batched over replicas by torch.vmap ({obstacle});"
            " its chains are run one after another, which is slower.",
            Notice,
            stacklevel=4,
        )
        return False
    if slow:
        warnings.warn(
            f"{model} uses {', '.join(slow)}, which torch.vmap cannot batch: these run one replica after another,"
            " which is slower.",
            Notice,
            stacklevel=4,
        )
    return True


def attempted(attempt: Callable[[], object]) -> Attempt:
    """Whether `attempt` works inside vmap. Raises DeviError where the attempt does.

    Attention is taken by torch's plain kernels for the rest of the process: of its fused ones some have no derivative
    inside vmap, and others no batching rule. The setting belongs to the process, so threads cannot each have theirs.
    """
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        slow = _not_batched(attempt)
        if any(operation.startswith(FUSED_ATTENTION) for operation in slow):
            torch.backends.cuda.enable_flash_sdp(False)  # the processor's kernels obey these two as well
            torch.backends.cuda.enable_mem_efficient_sdp(False)
            slow = _not_batched(attempt)
    except DeviError:
        raise
    except Exception as reason:
        return Attempt(str(reason).splitlines()[0][:160] if str(reason) else type(reason).__name__, [])
    return Attempt(None, slow)


def _not_batched(attempt: Callable[[], object]) -> list[str]:
    """The operations for which vmap loops over replicas; torch would tell of them at every step."""
    _tell_fallbacks(True)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            attempt()
    finally:
        _tell_fallbacks(False)
    found = [FALLBACK.search(str(each.message)) for each in caught]
    return sorted({match[1] for match in found if match})


def _tell_fallbacks(tell: bool) -> None:
    switch = getattr(torch._C._functorch, "_set_vmap_fallback_warning_enabled", None)
    if switch is not None:
        switch(tell)
