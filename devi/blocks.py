"""Blocks: a metric over all checkpoints of a run, some at a time, those in the cache taken from there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import xarray as xr

from devi.cache import Cache
from devi.checkpoints.reader import Run
from devi.errors import DeviError
from devi.executors import Executor, Here
from devi.metrics.metric import Metric
from devi.task import settings_of, with_settings

# Checkpoints a block: enough to batch well, few enough that a killed analysis loses little.
BLOCK = 64
# Memory one block's parameters may take, bytes; sampling holds several copies per chain and splits further by itself.
BLOCK_BYTES = 256 << 20


def resolved(metric: Metric, whole: Run, store: Cache | None, tell: Callable[[float], None]) -> Metric:
    """The metric with its settings decided; a decision once made (a calibration takes seconds) is kept."""
    further: dict[str, Any] = {"progress": tell} if metric.progresses else {}
    if store is None:
        return metric.resolved(whole, **further)
    path = store.resolution(metric, whole)
    known = store.load_settings(path)
    if known is not None:
        return with_settings(type(metric), known, kind="metric")
    decided = metric.resolved(whole, **further)
    store.save_settings(path, settings_of(decided))
    return decided


def over(
    metric: Metric, whole: Run, store: Cache | None, executor: Executor, tell: Callable[[float], None]
) -> xr.Dataset:
    """The metric over all blocks, those in the cache taken from there."""
    size = len(whole) if metric.whole_run else max(1, min(BLOCK, BLOCK_BYTES // max(1, 4 * whole.parameter_count)))
    blocks = [whole.block(start, min(start + size, len(whole))) for start in range(0, len(whole), size)]
    paths = [store.block(metric, block) if store else None for block in blocks]
    done = {index: store.load(path) for index, path in enumerate(paths) if store and path and path.is_file()}
    missing = [index for index in range(len(blocks)) if index not in done]
    tell(len(done) / len(blocks))
    # A block worked on elsewhere cannot report how far it is; one worked on here can.
    within = (lambda share: tell((len(done) + share) / len(blocks))) if isinstance(executor, Here) else None
    work = partial(_block, metric, tell=within)
    for index, result in zip(missing, executor.map(work, [blocks[index] for index in missing]), strict=True):
        done[index] = result
        path = paths[index]
        if store and path:
            store.save(path, result)
        tell(len(done) / len(blocks))
    return xr.concat(
        [done[index] for index in range(len(blocks))], dim="step", data_vars="all", combine_attrs="override"
    )


def _block(metric: Metric, block: Run, *, tell: Callable[[float], None] | None) -> xr.Dataset:
    result = metric.over(block, progress=tell) if metric.progresses else metric.over(block)  # type: ignore[call-arg]
    if "step" not in result.dims or result.sizes["step"] != len(block):
        raise DeviError(
            f"metric {metric.label()} returned dimensions {dict(result.sizes)} for {len(block)} checkpoints;"
            f" expected 'step' of that length."
        )
    return result
