"""Blocks: a metric over all checkpoints of a run, some at a time, those in the cache taken from there.

Checkpoints a block = the largest power of two with  COPIES · 4 bytes · parameters · checkpoints ≤ memory / workers,
at most BLOCK, and about a fair share for each worker. Where memory ends all the same, the block is halved. The numbers
are those of the checkpoints, not of the block they were in, up to the rounding of batched products (1e-6 of a loss).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xarray as xr

from devi.cache import Cache
from devi.checkpoints.reader import Run
from devi.contract import own_code
from devi.errors import DeviError, shown
from devi.executors import Executor, Here
from devi.memory import fitting, is_out_of_memory, limited, memory_bytes
from devi.metrics.metric import Metric, check_names
from devi.task import settings_of, with_settings

# Checkpoints a block: enough to batch well, few enough that a killed analysis loses little.
BLOCK = 64
# Float32 copies of a checkpoint's parameters that a metric may hold at once. Sampling holds most: the center in two
# precisions, and for each of 4 chains position, center, gradient, noise and two temporaries.
COPIES = 32


def resolved(
    metric: Metric,
    whole: Run,
    store: Cache | None,
    tell: Callable[[float], None],
    note: Callable[[str], None] = lambda sentence: None,
    *,
    memory: int | None = None,
) -> Metric:
    """The metric with its settings decided; a decision once made (a calibration takes minutes) is kept.

    note    is told what deciding will cost, before
    memory  bytes that deciding may take (`devi.memory.allowed`); None is half of what is free
    """
    if store is None:
        return _decided(metric, whole, tell, note, memory)
    path = store.resolution(metric, whole)
    known, given = store.load_settings(path), settings_of(metric)
    # The file may come with a stranger's report: numbers it fills in, but names, which may be imported, are the user's.
    names = {name: value for name, value in given.items() if isinstance(value, str | list)}
    if known is None or any(known.get(name) != value for name, value in names.items()):
        known = settings_of(_decided(metric, whole, tell, note, memory))
        store.save_settings(path, known)
    # Those decided just now are read as those from the file are: blocks are cached under the settings to the last digit
    # and type, and the next analysis must find them.
    return metric if known == given else with_settings(type(metric), known, kind="metric")


def _decided(
    metric: Metric, whole: Run, tell: Callable[[float], None], note: Callable[[str], None], memory: int | None
) -> Metric:
    if not metric.progresses:
        return metric.resolved(whole)
    tell(0.0)
    further: dict[str, Any] = {"progress": tell}
    remedy = (
        "Expected room for a few checkpoints and their chains: close other programs, or give the settings by hand,"
        " with fewer --chains or a smaller --batch-size."
    )
    size = memory_bytes(None, getattr(metric, "device", None)) if memory is None else memory
    # Once, for what is chosen depends on it where models are large.
    with limited(size), fitting(f"metric {metric.label()}: choosing its settings", remedy):
        if preparation := metric.preparation(whole):
            note(f"{metric.label()}: {preparation}")
        return metric.resolved(whole, **further)


def over(
    metric: Metric,
    whole: Run,
    store: Cache | None,
    executor: Executor,
    tell: Callable[[float], None],
    *,
    memory: int | None = None,
    note: Callable[[str], None] = lambda sentence: None,
) -> xr.Dataset:
    """The metric over all blocks, those in the cache taken from there.

    memory   bytes for all workers; None is half of what is free
    note     is told what the blocks that are not in the cache will cost, and when one was too large and was halved
    """
    memory = memory_bytes(None) if memory is None else memory
    size = len(whole)
    if not metric.whole_run:
        fair = -(-len(whole) // executor.workers)  # of a small run; a power of two too, so that few borders move
        size = min(block_size(whole.parameter_count, memory // executor.workers), 1 << (fair - 1).bit_length())
    blocks = [whole.block(start, min(start + size, len(whole))) for start in range(0, len(whole), size)]
    paths = [store.block(metric, block) if store else None for block in blocks]
    stored = {index: store.load(path) for index, path in enumerate(paths) if store and path}
    done = {index: one for index, one in stored.items() if one is not None}
    missing = [index for index in range(len(blocks)) if index not in done]
    tell(len(done) / len(blocks))
    rest = [place for place in range(len(whole)) if place // size not in done]
    outlook = metric.outlook(whole.select(rest)) if rest else ""
    if outlook:
        left = f" for the {len(rest)} of {len(whole)} checkpoints that are left" if done else ""
        note(f"{metric.label()}: {outlook}{left}")
    # A block worked on elsewhere cannot report how far it is; one worked on here can.
    within = (lambda share: tell((len(done) + share) / len(blocks))) if isinstance(executor, Here) else None
    smallest = size
    work = _Work(metric, tell=within)
    for place, (found, largest) in executor.done(work, [blocks[index] for index in missing]):
        index = missing[place]
        done[index] = found
        if largest < min(smallest, len(blocks[index])):
            smallest = largest
            note(
                f"{metric.label()}: {len(blocks[index])} checkpoints at once were too many for the memory; goes on with"
                f" {largest}.{_to_begin_with(largest, whole.parameter_count, executor.workers)}"
            )
        path = paths[index]
        if store and path:
            store.save(path, done[index])
        tell(len(done) / len(blocks))
    return _joined([done[index] for index in range(len(blocks))])


def block_size(parameters: int, memory: int) -> int:
    """Checkpoints a block, a power of two: memory that is free changes all the time, and blocks are cached whole."""
    fitting = min(BLOCK, memory // max(1, 4 * COPIES * parameters))
    return 1 << max(0, fitting.bit_length() - 1)


class _Work:
    """A metric on a block, in as many parts as memory needs; here it remembers how many checkpoints went well."""

    def __init__(self, metric: Metric, *, tell: Callable[[float], None] | None) -> None:
        self.metric, self.tell, self.most = metric, tell, BLOCK

    def __call__(self, block: Run) -> tuple[xr.Dataset, int]:
        """The result, and the largest number of checkpoints that was worked on at once."""
        if self.metric.whole_run:
            self.most = len(block)
        parts: list[xr.Dataset] = []
        start = largest = 0
        while start < len(block):
            part = block.block(start, min(start + self.most, len(block))) if self.most < len(block) else block
            try:
                parts.append(_block(self.metric, part, tell=self.tell))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(part) == 1 or self.metric.whole_run:
                    what = "one checkpoint" if len(part) == 1 else f"a run of {len(part)} checkpoints"
                    raise DeviError(
                        f"metric {self.metric.label()}: {what} does not fit into memory ({str(error)[:160]})."
                        " Expected room for it: close other programs, take another --device, or fewer --chains or a"
                        " smaller --batch-size if it is the learning coefficient."
                    ) from None
                self.most = len(part) // 2
            else:
                start, largest = start + len(part), max(largest, len(part))
        return _joined(parts), largest


def _joined(parts: list[xr.Dataset]) -> xr.Dataset:
    return xr.concat(parts, dim="step", data_vars="all", combine_attrs="override") if len(parts) > 1 else parts[0]


def _to_begin_with(checkpoints: int, parameters: int, workers: int) -> str:
    """What to type for blocks of so many; nothing where a megabyte holds more."""
    megabytes = -(-4 * COPIES * parameters * checkpoints * workers >> 20)
    if block_size(parameters, (megabytes << 20) // workers) > checkpoints:
        return ""
    return f" To begin with so many: --memory {megabytes}M"


def _block(metric: Metric, block: Run, *, tell: Callable[[float], None] | None) -> xr.Dataset:
    with own_code(metric, f"at steps {block.steps[0]} to {block.steps[-1]} it"):
        result = metric.over(block, progress=tell) if metric.progresses else metric.over(block)  # type: ignore[call-arg]
    if not isinstance(result, xr.Dataset):
        hint = " Does it end without a `return`?" if result is None else ""
        raise DeviError(
            f"metric {metric.label()}: over(run) gave {shown(repr(result))}; expected an xarray.Dataset along 'step', a"
            f" value for each checkpoint.{hint}"
        )
    if "step" not in result.dims or result.sizes["step"] != len(block):
        raise DeviError(
            f"metric {metric.label()} returned dimensions {dict(result.sizes)} for {len(block)} checkpoints;"
            f" expected 'step' of that length."
        )
    check_names(metric.label(), (name for name in (*result.variables, *result.dims) if name != "step"))
    for name, values in result.variables.items():
        if values.dtype.kind == "c":
            raise DeviError(
                f"metric {metric.label()}: '{name}' has complex numbers; expected real ones: its .real, .imag or abs()."
            )
    return metric.with_declared(result)
