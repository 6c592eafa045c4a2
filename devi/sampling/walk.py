"""Walk: all replicas take all their sampler steps in one batched computation, chunk by chunk of replicas.

The noise of a replica depends on (seed, training step of its checkpoint, chain) and minibatches on (seed, sampler
step), never on the place in the batch: two checkpoints together give the numbers of two walks of one.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from devi.sampling.kernels import Kernel, State, Target
from devi.sampling.noise import Noise, stream
from devi.sampling.posterior import Posterior
from devi.sampling.watch import Watch

# What the virial needs is recorded at every so many draws of an unadjusted kernel: neighbours say the same.
VISIT_EVERY = 4
FEW_PARAMETERS = 16  # up to here each parameter is a group of its own
MOST_GROUPS = 16  # more parameter tensors than this are taken together, neighbours first


class Walk(NamedTuple):
    """What walks leave behind; R replicas, D draws after burn-in, V visited draws, G groups of parameters.

    excess       (R, D) float64     L(w) − L(w*) on the examples of that draw: mean over draws is E[L_n] − L_n(w*)
    loss_force   (R, V, G) float64  (w − w*)·∇L by group, at draws 0, visit_every, 2·visit_every …
    distance     (R, V, G) float64  ‖w − w*‖² by group
    force_force  (R, V, G) float64  ∇L·∇L by group
    by_tensor    (R, P) float64     mean over visits of (w − w*)·∇L, by parameter tensor
    step_size    (R,) float64       after burn-in
    acceptance   (R,) float64       mean over draws; 1 for a kernel that accepts everything
    """

    excess: Tensor
    loss_force: Tensor
    distance: Tensor
    force_force: Tensor
    by_tensor: Tensor
    step_size: Tensor
    acceptance: Tensor


class Plan(NamedTuple):
    """How all replicas walk: numbers but for step_size and localization, (replica, 1) in the posterior's dtype.

    batch_size  examples per gradient; all of them if it is the size of the training set
    """

    step_size: Tensor
    n_beta: float
    localization: Tensor
    burn_in: int
    batch_size: int
    seed: int


class Walkers:
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
        self.chunks = []
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            own = plan._replace(step_size=plan.step_size[part], localization=plan.localization[part])
            self.chunks.append(_Chunk(posterior, kernel, rows[part], keys[part], own, keep()))

    def advance(self, draws: int, progress: Callable[[float], None] | None = None) -> Walk:
        """So many draws more, after burn-in the first time; everything since the start."""
        done = [0.0] * len(self.chunks)

        def work(number: int, own: Posterior) -> Walk:
            def report(fraction: float) -> None:
                done[number] = fraction
                if progress is not None:
                    progress(sum(done) / len(done))

            return self.chunks[number].advance(own, draws, report)

        if self.threads == 1 or len(self.chunks) == 1:
            parts = [work(number, self.posterior) for number in range(len(self.chunks))]
        else:
            parts = self._in_threads(work)
        return Walk(*(torch.cat(pieces) for pieces in zip(*parts, strict=True)))

    def forget(self) -> None:
        """Drop what was recorded so far: it was burn-in after all."""
        for chunk in self.chunks:
            chunk.forget()

    def kept(self) -> list[Watch]:
        """What was watched so far, chunk by chunk of replicas."""
        return [chunk.kept for chunk in self.chunks if chunk.kept is not None]

    @property
    def gradients(self) -> int:
        """Gradients taken so far, each of one replica's loss on one batch."""
        return sum(chunk.gradients for chunk in self.chunks)

    def _in_threads(self, work: Callable[[int, Posterior], Walk]) -> list[Walk]:
        """`work(number, posterior)` for every chunk, each on one thread with single-threaded operations.

        Operations on a chunk are too short to be split well: with two threads inside them a step took as long as with
        one, and 20 times as long when another process held a core; whole chunks side by side share nothing.
        """
        own: queue.SimpleQueue[Posterior] = queue.SimpleQueue()
        for _ in range(self.threads):
            own.put(self.posterior.for_thread())

        def on_a_thread(number: int) -> Walk:
            mine = own.get()
            try:
                return work(number, mine)
            finally:
                own.put(mine)

        try:
            with ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                return list(pool.map(on_a_thread, range(len(self.chunks))))
        finally:
            torch.set_num_threads(self.threads)


class _Chunk:
    """Some of the replicas: where they are, and what they have left behind."""

    def __init__(
        self,
        posterior: Posterior,
        kernel: Kernel,
        rows: Tensor,
        keys: Sequence[tuple[int, int]],
        plan: Plan,
        kept: Watch | None,
    ) -> None:
        self.kernel, self.plan, self.kept = kernel, plan, kept
        self.center = posterior.centers[rows]  # (replica, parameter)
        self.fixed = posterior.fixed_at(rows)
        self.is_full = plan.batch_size >= posterior.examples
        checkpoints, self.checkpoint_of = torch.unique(rows, return_inverse=True)
        self.base_losses = posterior.base_losses[checkpoints]  # (checkpoint, example)
        # By the same operations as along the chains: a chain that stays at w* then reads a difference of exactly 0
        self.base = posterior.loss_and_gradient(self.center, self.fixed, posterior.data)[0]  # (replica,)
        self.target = Target(self.center, plan.n_beta, plan.localization)
        self.noise = Noise(plan.seed, keys, self.center.shape[1] + kernel.extra_normals, self.center)
        self.examples = torch.Generator().manual_seed(stream(plan.seed, -1, -1))
        self.jitter = torch.Generator().manual_seed(stream(plan.seed, -2, -2))
        self.sizes, self.groups = posterior.sizes, groups_of(posterior)
        self.visit_every = visit_every(kernel)
        self.state: State | None = None
        self.gradients = 0
        self.steps = 0
        self.forget()

    def forget(self) -> None:
        self.excess: list[Tensor] = []
        self.visits: list[tuple[Tensor, Tensor, Tensor]] = []
        self.by_tensor = self.base.new_zeros(len(self.base), len(self.sizes))
        self.accepted = torch.zeros_like(self.base)
        if self.kept is not None:
            self.kept.forget()

    def advance(self, posterior: Posterior, draws: int, report: Callable[[float], None]) -> Walk:
        steps = draws + (self.plan.burn_in if self.state is None else 0)
        for number in range(steps):
            self._step(posterior)
            if self.steps > self.plan.burn_in:
                self._record(posterior)
            if number % 16 == 0:
                report(number / steps)
        report(1.0)
        assert self.state is not None
        mixed, distance, force = (torch.stack(parts, dim=1) for parts in zip(*self.visits, strict=True))
        step_size = self.state.step_size[:, 0].double()
        by_tensor, acceptance = self.by_tensor / len(self.visits), self.accepted / len(self.excess)
        return Walk(torch.stack(self.excess, dim=1), mixed, distance, force, by_tensor, step_size, acceptance)

    def _step(self, posterior: Posterior) -> None:
        """The first step is w* itself."""

        def potential(position: Tensor) -> tuple[Tensor, Tensor]:
            self.gradients += len(position)
            data, base = posterior.data, self.base
            if not self.is_full:
                index = torch.randperm(posterior.examples, generator=self.examples)[: self.plan.batch_size]
                index = index.to(position.device)
                data = posterior.minibatch(index)
                # The same examples at w*: a minibatch shifts both losses alike, so their difference is unbiased, quiet
                base = self.base_losses[:, index].mean(dim=1, dtype=torch.float64)[self.checkpoint_of]
            loss, gradient = posterior.loss_and_gradient(position, self.fixed, data)
            return loss - base, gradient

        if self.state is None:
            self.state = self.kernel.init(self.center.clone(), potential, self.plan.step_size)
        else:
            jitter = float(torch.rand((), generator=self.jitter))
            self.state = self.kernel.step(self.state, potential, self.target, self.noise.next(), jitter)
            if self.kernel.adapt is not None and self.steps <= self.plan.burn_in:
                self.state = self.kernel.adapt(self.state, self.steps / self.plan.burn_in)
        self.steps += 1

    def _record(self, posterior: Posterior) -> None:
        assert self.state is not None
        if self.kept is not None:
            self.kept.visit(len(self.excess), posterior, self.state.position, self.fixed)
        position, excess, gradient = self.state[:3]
        if len(self.excess) % self.visit_every == 0:
            offset = position - self.center
            mixed = offset * gradient
            self.by_tensor += sums(mixed, self.sizes)
            series = mixed, offset.square_(), gradient.square()
            self.visits.append(
                (sums(series[0], self.groups), sums(series[1], self.groups), sums(series[2], self.groups))
            )
        self.excess.append(excess)
        self.accepted += 1.0 if not self.kernel.is_adjusted else self.state.memory.acceptance[:, 0]


def sums(values: Tensor, sizes: list[int]) -> Tensor:
    """(replica, parameter) -> (replica, group) in float64: sums over neighbours, so many at a time."""
    if len(sizes) == values.shape[1]:
        return values.double()
    return torch.stack([part.sum(dim=1, dtype=torch.float64) for part in values.split(sizes, dim=1)], dim=1)


def groups_of(posterior: Posterior) -> list[int]:
    """Sizes of the groups of parameters that the virial is recorded for: each parameter, tensor, or several tensors."""
    if posterior.dimension <= FEW_PARAMETERS:
        return [1] * posterior.dimension
    several = -(-len(posterior.sizes) // MOST_GROUPS)
    return [sum(posterior.sizes[first : first + several]) for first in range(0, len(posterior.sizes), several)]


def visit_every(kernel: Kernel) -> int:
    return 1 if kernel.is_adjusted else VISIT_EVERY
