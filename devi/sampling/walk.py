"""Walk: all replicas take all their sampler steps in one batched computation, chunk by chunk of replicas.

The noise of a replica depends on (seed, training step of its checkpoint, chain) and minibatches on (seed, sampler
step), never on the place in the batch: two checkpoints together give the numbers of two walks of one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from devi.forks import can_fork, in_forks
from devi.sampling.chunk import Chunk
from devi.sampling.compiling import compile_gradient
from devi.sampling.kernels import Kernel
from devi.sampling.posterior import Posterior
from devi.sampling.record import Parts, Plan, Walk
from devi.sampling.threads import side_by_side
from devi.sampling.watch import Watch


class Walkers(Parts[Chunk]):
    """Replicas in chunks that fit in the cache; `advance` goes on where the last one ended."""

    def __init__(
        self,
        posterior: Posterior,
        kernel: Kernel,
        rows: Tensor,
        keys: Sequence[tuple[int, int]],
        plan: Plan,
        *,
        memory_bytes: int | None = None,
        keep: Callable[[], Watch | None] = lambda: None,
        compile: bool = False,
    ) -> None:
        """rows (replica,): checkpoint of each, as a row of `posterior.centers`; keys: its (training step, chain).

        keep     makes what is watched beside the loss, once for each chunk
        compile  see `devi.sampling.compiling`
        """
        self.posterior = posterior
        self.threads = torch.get_num_threads() if posterior.device.type == "cpu" and posterior.batched else 1
        self.parts = []
        for part in _shares(len(rows), posterior.replicas_at_once(plan.batch_size, memory_bytes), self.threads):
            self.parts.append(Chunk(posterior, kernel, rows[part], keys[part], plan.rows(part), keep()))
        if compile:
            threads = 1 if self.threads > 1 and len(self.parts) > 1 else torch.get_num_threads()
            sizes = sorted({len(part.center) for part in self.parts})
            # What cannot be compiled for one size cannot for another.
            all(compile_gradient(posterior, size, plan.batch_size, threads=threads) for size in sizes)

    def advance(self, draws: int, progress: Callable[[float], None] | None = None) -> Walk:
        """So many draws more, after burn-in the first time; everything since the start."""
        done = [0.0] * len(self.parts)

        def heard(number: int, fraction: float) -> None:
            done[number] = fraction
            if progress is not None:
                progress(sum(done) / len(done))

        def work(number: int, own: Posterior) -> Walk:
            return self.parts[number].advance(own, draws, lambda share: heard(number, share))

        def elsewhere(number: int, report: Callable[[float], None]) -> tuple[Walk, dict[str, Any]]:
            return self.parts[number].advance(self.posterior, draws, report), self.parts[number].left_behind()

        count = len(self.parts)
        if self.threads == 1 or count == 1:
            walks = [work(number, self.posterior) for number in range(count)]
        elif not (can_fork() and (self.posterior.replicas is not None or not torch.accelerator.is_available())):
            # autograd has a thread for each accelerator, and refuses to go on in a fork without them
            walks = side_by_side(count, work, self.posterior.for_thread, threads=self.threads)
        else:
            walks = []
            for part, (walk, changed) in zip(
                self.parts, in_forks(count, elsewhere, processes=self.threads, progress=heard), strict=True
            ):
                part.take_up(walk, changed)
                walks.append(walk)
        return Walk(*(torch.cat(pieces) for pieces in zip(*walks, strict=True)))


def _shares(replicas: int, most: int, threads: int) -> list[slice]:
    """The replicas in as few pieces of at most `most` as can be, equally long, as many for each thread."""
    pieces = min(-(-replicas // (most * threads)) * threads, replicas)
    ends = [replicas * number // pieces for number in range(pieces + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]
