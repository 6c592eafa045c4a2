"""Hamiltonian kernels: a trajectory of leapfrog steps, accepted or rejected, so that no step size biases the draws.

    p ~ N(0, I);  l times:  p ← p − (ε/2)·s∘∇U,  w ← w + ε·s∘p,  p ← p − (ε/2)·s∘∇U;  accept with min(1, exp(−ΔH))

    H = U(w) + ‖p‖²/2,   s (..., parameter) the posterior's own widths, learnt in burn-in (a diagonal preconditioner)
    hmc   l uniform in 1 … l_max, the same for all replicas: a fixed length would resonate with some direction
    mala  l = 1

In burn-in ε follows the acceptance by dual averaging, each replica its own. `step_size` is in units of s.
Sources: Neal 2011, arXiv:1206.1901; Roberts & Tweedie 1996 (mala); Hoffman & Gelman 2014, section 3.2 (dual averaging).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from devi.sampling.kernels import Kernel, Potential, State, Target
from devi.sampling.settings import LEAPFROG_STEPS

ACCEPTANCE_HMC = 0.8  # Hoffman & Gelman 2014, section 4
ACCEPTANCE_MALA = 0.574  # the best in many dimensions: Roberts & Rosenthal 1998
# Dual averaging as in Hoffman & Gelman 2014, section 3.2.1
SHRINKAGE, DELAY, DECAY = 0.05, 10, 0.75
# At these shares of burn-in the widths are set to those seen since the last one.
WINDOWS = (0.1, 0.2, 0.4, 0.75)
PRIOR_DRAWS = 5.0  # that the coordinates' common width counts for among those seen
LONGEST_STEP = 1.9  # leapfrog is unstable from 2 on, in units of the width


class Memory(NamedTuple):
    """Everything (..., 1) but for the widths and what they are learnt from, (..., parameter)."""

    widths: Tensor
    acceptance: Tensor  # probability that the last trajectory was accepted with
    shortfall: Tensor  # running mean of (wanted − found) acceptance
    log_average: Tensor  # running mean of log ε
    anchor: Tensor  # log ε is pulled to this
    mean: Tensor  # of the positions in this window, from w*
    squares: Tensor  # sum of squared deviations from the mean
    moves: int = 0  # in this window
    window: int = 0


def _start(position: Tensor, potential: Potential, step_size: Tensor) -> State:
    each = step_size.double()
    log = each.log()
    zeros = torch.zeros_like(position)
    memory = Memory(torch.ones_like(position), 0 * each, 0 * each, log, log, zeros, zeros)
    return State(position, *potential(position), step_size, memory)


def _step(
    state: State, potential: Potential, target: Target, noise: Tensor, jitter: float, *, leapfrog_steps: int
) -> State:
    memory: Memory = state.memory
    count = state.position.shape[-1]
    momentum, spare = noise[..., :count], noise[..., count:].double()
    stride = state.step_size.to(state.position) * memory.widths  # ε·s
    position, excess, gradient = state.position, state.excess, state.gradient
    kinetic = momentum.double().square().sum(dim=-1)
    momentum = momentum - 0.5 * stride * target.force(position, gradient)
    length = 1 + int(jitter * leapfrog_steps)
    for number in range(length):
        position = position + stride * momentum
        excess, gradient = potential(position)
        share = 0.5 if number == length - 1 else 1.0
        momentum = momentum - share * stride * target.force(position, gradient)
    gained = (
        target.energy(state.position, state.excess)
        - target.energy(position, excess)
        + 0.5 * (kinetic - momentum.double().square().sum(dim=-1))
    )
    gained = torch.where(gained.isfinite(), gained, -torch.inf)[..., None]  # −ΔH; off the numbers is not accepted
    # Half the square of two standard normals is an exponential variable: −log of a uniform one.
    taken = gained > -0.5 * spare.square().sum(dim=-1, keepdim=True)
    return State(
        torch.where(taken, position, state.position),
        torch.where(taken[..., 0], excess, state.excess),
        torch.where(taken, gradient, state.gradient),
        state.step_size,
        memory._replace(acceptance=gained.clamp(max=0).exp()),
    )


def _adapt(state: State, done: float, *, acceptance: float, at_last: float | None = None) -> State:
    memory: Memory = state.memory
    moves = memory.moves + 1
    # Hoffman & Gelman 2014, eq. 6, with μ the anchor
    rate = 1 / (moves + DELAY)
    shortfall = torch.lerp(memory.shortfall, acceptance - memory.acceptance, rate)
    log = memory.anchor - math.sqrt(moves) / SHRINKAGE * shortfall
    log = log.clamp(max=math.log(LONGEST_STEP))
    log_average = torch.lerp(memory.log_average, log, moves**-DECAY)
    # Welford's running variance
    change = state.position - memory.mean
    mean = memory.mean + change / moves
    squares = torch.addcmul(memory.squares, change, state.position - mean)
    memory = memory._replace(shortfall=shortfall, log_average=log_average, mean=mean, squares=squares, moves=moves)
    if memory.window < len(WINDOWS) and done >= WINDOWS[memory.window]:
        memory, log = _next_window(memory)
    if done >= 1:
        log = memory.log_average
    size = log.exp().to(state.step_size)
    if at_last is not None and (memory.window == len(WINDOWS) or done >= 1):
        size = torch.full_like(size, at_last)
    return state._replace(step_size=size, memory=memory)


def _next_window(memory: Memory) -> tuple[Memory, Tensor]:
    """The widths that were seen, and a fresh start for the rest; with them, log ε of the same stride as before."""
    variance = memory.squares.double() / max(memory.moves - 1, 1)
    common = variance.clamp_min(1e-30).log().mean(dim=-1, keepdim=True).exp()
    variance = (memory.moves * variance + PRIOR_DRAWS * common) / (memory.moves + PRIOR_DRAWS)
    widths = variance.sqrt().to(memory.widths)
    narrowest = (memory.widths.double() / widths).amin(dim=-1, keepdim=True)
    log = (memory.log_average + narrowest.clamp_min(1e-30).log()).clamp(math.log(0.05), math.log(1.0))
    zeros = torch.zeros_like(widths)
    memory = memory._replace(
        widths=widths, shortfall=0 * memory.shortfall, log_average=log, anchor=log + math.log(2.0),
        mean=zeros, squares=zeros, moves=0, window=memory.window + 1,
    )  # fmt: skip
    return memory, log


def with_length(kernel: Kernel, leapfrog_steps: int) -> Kernel:
    """hmc with trajectories of 1 … leapfrog_steps; any other kernel as it is."""
    if kernel.name != "hmc":
        return kernel
    return kernel._replace(
        step=partial(_step, leapfrog_steps=leapfrog_steps), gradients_per_step=(leapfrog_steps + 1) / 2
    )


def with_step_at_last(kernel: Kernel, step_size: float) -> Kernel:
    """The kernel with that step size once the widths are learnt, which are its unit.

    Until then it follows the acceptance: with the widths still 1, where they should be 0.07, chains at ε = 0.5 accepted
    nothing, saw no widths, and never moved.
    """
    if kernel.adapt is None:
        return kernel
    adapt: Callable[..., State] = kernel.adapt
    return kernel._replace(adapt=partial(adapt, at_last=step_size))


mala = Kernel(
    _start,
    partial(_step, leapfrog_steps=1),
    "mala",
    partial(_adapt, acceptance=ACCEPTANCE_MALA),
    extra_normals=2,
    is_adjusted=True,
)
hmc = with_length(mala._replace(name="hmc", adapt=partial(_adapt, acceptance=ACCEPTANCE_HMC)), LEAPFROG_STEPS)
