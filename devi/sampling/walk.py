"""Walk: all replicas take all their sampler steps in one batched computation, chunk by chunk of replicas.

The noise of a replica depends on (seed, training step of its checkpoint, chain) and minibatches on (seed, sampler
step), never on the place in the batch: two checkpoints together give the numbers of two walks of one.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from devi.sampling.kernels import Kernel
from devi.sampling.posterior import Posterior

# Sums for the virial are taken at every fourth draw: three passes over the buffer, and neighbours say the same.
VIRIAL_EVERY = 4
# Normal numbers per call and replica: enough to make the call's own cost small. Fixed, because it decides the stream.
NOISE_AT_ONCE = 4096


class Walk(NamedTuple):
    """What one walk leaves behind; R replicas, D draws after burn-in, G parameter tensors. Losses in the task's unit.

    excess       (R, D) float64  L(w) − L(w*) on the examples of that draw: mean over draws is E[L_n] − L_n(w*)
    loss_force   (R, G) float64  mean of (w − w*)·∇L, by parameter tensor
    distance     (R,)   float64  mean of ‖w − w*‖²
    force_force  (R,)   float64  mean of ∇L·∇L
    """

    excess: Tensor
    loss_force: Tensor
    distance: Tensor
    force_force: Tensor


def walk(
    posterior: Posterior,
    kernel: Kernel,
    rows: Tensor,
    keys: Sequence[tuple[int, int]],
    *,
    step_size: Tensor,
    n_beta: float,
    localization: Tensor,
    burn_in: int,
    draws: int,
    batch_size: int,
    seed: int,
    memory_bytes: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Walk:
    """`burn_in + draws` steps of every replica; the first draw of an unburnt chain is w* itself.

    rows          (replica,) checkpoint of each replica, as a row of `posterior.centers`
    keys          (training step, chain) of each replica: with `seed`, all that its noise depends on
    step_size     (replica, 1), localization likewise, in the dtype of the posterior
    batch_size    examples per gradient; all of them if it is the size of the training set
    """
    threads = torch.get_num_threads() if posterior.device.type == "cpu" and posterior.batched else 1
    at_once = min(posterior.replicas_at_once(batch_size, memory_bytes), -(-len(rows) // threads))
    chunks = [slice(start, start + at_once) for start in range(0, len(rows), at_once)]
    done = [0.0] * len(chunks)

    def work(number: int, own: Posterior) -> Walk:
        def report(fraction: float) -> None:
            done[number] = fraction
            if progress is not None:
                progress(sum(done) / len(done))

        chunk = slice(*chunks[number].indices(len(rows)))
        return _walk_chunk(
            own,
            kernel,
            rows[chunk],
            keys[chunk],
            step_size[chunk],
            n_beta,
            localization[chunk],
            burn_in,
            draws,
            batch_size,
            seed,
            report,
        )

    if threads == 1 or len(chunks) == 1:
        parts = [work(number, posterior) for number in range(len(chunks))]
    else:
        parts = _in_threads(work, posterior, len(chunks), threads)
    return Walk(*(torch.cat(pieces) for pieces in zip(*parts, strict=True)))


def _in_threads(work: Callable[[int, Posterior], Walk], posterior: Posterior, count: int, threads: int) -> list[Walk]:
    """`work(number, posterior)` for every number, each chunk on one thread with single-threaded operations.

    Operations on a chunk are too short to be split well: with two threads inside them a step took as long as with one,
    and 20 times as long when another process held a core; whole chunks side by side share nothing.
    """
    own: queue.SimpleQueue[Posterior] = queue.SimpleQueue()
    for _ in range(threads):
        own.put(posterior.for_thread())

    def on_a_thread(number: int) -> Walk:
        mine = own.get()
        try:
            return work(number, mine)
        finally:
            own.put(mine)

    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(on_a_thread, range(count)))
    finally:
        torch.set_num_threads(threads)


def _walk_chunk(
    posterior: Posterior,
    kernel: Kernel,
    rows: Tensor,
    keys: Sequence[tuple[int, int]],
    step_size: Tensor,
    n_beta: float,
    localization: Tensor,
    burn_in: int,
    draws: int,
    batch_size: int,
    seed: int,
    report: Callable[[float], None],
) -> Walk:
    center = posterior.centers[rows]  # (replica, parameter)
    fixed = posterior.fixed_at(rows)
    is_full = batch_size >= posterior.examples
    checkpoints, checkpoint_of = torch.unique(rows, return_inverse=True)
    base_losses = posterior.base_losses[checkpoints]  # (checkpoint, example)
    data = posterior.data
    # By the same operations as along the chains: a chain that stays at w* then reads a difference of exactly 0
    base = posterior.loss_and_gradient(center, fixed, data)[0]  # (replica,)
    noise = Noise(seed, keys, center)
    examples = torch.Generator().manual_seed(_stream(seed, -1, -1))

    excess = torch.empty(len(rows), draws, dtype=torch.float64, device=center.device)
    loss_force = torch.zeros(len(rows), len(posterior.sizes), dtype=torch.float64, device=center.device)
    distance = torch.zeros(len(rows), dtype=torch.float64, device=center.device)
    force_force = torch.zeros_like(distance)
    state = kernel.init(center.clone())
    for step in range(burn_in + draws):
        if not is_full:
            index = torch.randperm(posterior.examples, generator=examples)[:batch_size].to(center.device)
            data = posterior.minibatch(index)
            # The same examples at w*: a minibatch shifts both losses alike, so their difference is unbiased and quiet
            base = base_losses[:, index].mean(dim=1, dtype=torch.float64)[checkpoint_of]
        loss, gradient = posterior.loss_and_gradient(state.position, fixed, data)
        draw = step - burn_in
        if draw >= 0:
            excess[:, draw] = loss - base
            if draw % VIRIAL_EVERY == 0:
                offset = state.position - center
                products = (offset * gradient).split(posterior.sizes, dim=1)
                loss_force += torch.stack([part.sum(dim=1) for part in products], dim=1)
                distance += offset.square_().sum(dim=1)
                force_force += gradient.square().sum(dim=1)
        state = kernel.step(
            state, gradient, center, noise.next(), step_size=step_size, n_beta=n_beta, localization=localization
        )
        if step % 16 == 0:
            report(step / (burn_in + draws))
    report(1.0)
    visits = -(-draws // VIRIAL_EVERY)
    return Walk(excess, loss_force / visits, distance / visits, force_force / visits)


class Noise:
    """Standard normal numbers, (replica, parameter) at a time, made in bulk for several steps of one replica."""

    def __init__(self, seed: int, keys: Sequence[tuple[int, int]], like: Tensor) -> None:
        self.generators = [torch.Generator(like.device).manual_seed(_stream(seed, step, chain)) for step, chain in keys]
        parameters = like.shape[1]
        self.steps = max(1, NOISE_AT_ONCE // parameters)
        self.buffer = torch.empty(len(keys), self.steps, parameters, dtype=like.dtype, device=like.device)
        self.used = self.steps

    def next(self) -> Tensor:
        if self.used == self.steps:
            for rows, generator in zip(self.buffer, self.generators, strict=True):
                rows.normal_(generator=generator)
            self.used = 0
        self.used += 1
        return self.buffer[:, self.used - 1]


def _stream(seed: int, step: int, chain: int) -> int:
    """A seed of its own for each (seed, step, chain)."""
    words = [number % 2**64 for number in (seed, step, chain)]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def squared_force(one: Walk, n_beta: float, localization: Tensor) -> Tensor:
    """E‖∇U‖² of each replica, (replica,)."""
    mixed = one.loss_force.sum(dim=1)
    return n_beta**2 * one.force_force + 2 * n_beta * localization * mixed + localization**2 * one.distance


def measured_virial(one: Walk, n_beta: float, localization: Tensor, dimension: int) -> Tensor:
    """V = E[(w − w*)·∇U]/d of each replica, (replica,)."""
    return (n_beta * one.loss_force.sum(dim=1) + localization * one.distance) / dimension


def step_bias(one: Walk, n_beta: float, localization: Tensor, step_size: Tensor) -> Tensor:
    """What the finite step of sgld adds to nβ·E[L − L(w*)], (replica,):  (ε/8)·E[nβ∇L·∇U].

    For U = ½Σ h_i x_i², the stationary variance of sgld is 1/(h_i(1 − εh_i/4)), so with nβ·L = ½Σ a_i x_i² the mean
    is ½Σ a_i/(h_i(1 − εh_i/4)) and the term above is exactly its excess over ½Σ a_i/h_i, whatever the step size.
    """
    return step_size / 8 * n_beta * (n_beta * one.force_force + localization * one.loss_force.sum(dim=1))
