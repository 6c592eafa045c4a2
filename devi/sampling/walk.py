"""Walk: all replicas take all their sampler steps in one batched computation, chunk by chunk of replicas.

The noise of a replica depends on (seed, training step of its checkpoint, chain) and minibatches on (seed, sampler
step), never on the place in the batch: two checkpoints together give the numbers of two walks of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from devi.sampling.chunk import Chunk
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
    ) -> None:
        """rows (replica,): checkpoint of each, as a row of `posterior.centers`; keys: its (training step, chain).

        keep  makes what is watched beside the loss, once for each chunk
        """
        self.posterior = posterior
        self.threads = torch.get_num_threads() if posterior.device.type == "cpu" and posterior.batched else 1
        at_once = min(posterior.replicas_at_once(plan.batch_size, memory_bytes), -(-len(rows) // self.threads))
        self.parts = []
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            self.parts.append(Chunk(posterior, kernel, rows[part], keys[part], plan.rows(part), keep()))

    def advance(self, draws: int, progress: Callable[[float], None] | None = None) -> Walk:
        """So many draws more, after burn-in the first time; everything since the start."""
        done = [0.0] * len(self.parts)

        def work(number: int, own: Posterior) -> Walk:
            def report(fraction: float) -> None:
                done[number] = fraction
                if progress is not None:
                    progress(sum(done) / len(done))

            return self.parts[number].advance(own, draws, report)

        if self.threads == 1 or len(self.parts) == 1:
            parts = [work(number, self.posterior) for number in range(len(self.parts))]
        else:
            parts = side_by_side(len(self.parts), work, self.posterior.for_thread, threads=self.threads)
        return Walk(*(torch.cat(pieces) for pieces in zip(*parts, strict=True)))
