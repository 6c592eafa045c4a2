"""Langevin kernels: a gradient step and noise, never rejected. The draws are those of a nearby distribution.

    sgld    w ← w − (ε/2)·(nβ·∇L(w) + γ·(w − w*)) + √ε·N(0, I)
    psgld   w ← w − (ε/2)·m∘(nβ·∇L(w) + γ·(w − w*)) + √(ε·m)∘N(0, I),   m = 1/(√v + δ),  v ← α·v + (1 − α)·∇L²

Sources: Welling & Teh 2011 (sgld); Lau et al. 2023, arXiv:2308.12108 (localized); Li et al. 2016, arXiv:1512.07666
(psgld, without the term Γ, as is usual: what that adds goes into the error, see `devi.sampling.estimate`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from devi.sampling.kernels import Kernel, Potential, State, Target, like

RMSPROP_DECAY = 0.99  # α: Li et al. 2016, section 5
# δ: devinterp's. With Li et al.'s 1e-5 a chain that starts at a minimum, where the first gradient is 0, makes a first
# step 10⁵ times too long: at ε = 1e-6 a quadratic of 20 parameters had λ̂ = 78 instead of 10, with 0.1 it has 9.9.
RMSPROP_STABILITY = 0.1


def _start(position: Tensor, potential: Potential, step_size: Tensor) -> State:
    return State(position, *potential(position), step_size)


def _start_with_memory(position: Tensor, potential: Potential, step_size: Tensor) -> State:
    return _start(position, potential, step_size)._replace(memory=torch.zeros_like(position))


def _sgld_step(state: State, potential: Potential, target: Target, noise: Tensor, jitter: float = 0.0) -> State:
    position = state.position
    step_size, n_beta, localization = (like(position, x) for x in (state.step_size, *target[1:]))
    # w − (εγ/2)(w − w*) is an interpolation towards w*, exact where w = w*; one new tensor, two fused updates.
    position = torch.lerp(position, target.center, 0.5 * step_size * localization)
    position.addcmul_(state.gradient, -0.5 * step_size * n_beta)
    position.addcmul_(noise, step_size.sqrt())
    return State(position, *potential(position), state.step_size)


def _psgld_step(state: State, potential: Potential, target: Target, noise: Tensor, jitter: float = 0.0) -> State:
    position, gradient = state.position, state.gradient
    step_size = like(position, state.step_size)
    memory = _remembered(state)
    scale = _scale_at(memory.sqrt())
    force = target.force(position, gradient)
    moved = position - 0.5 * step_size * scale * force + (step_size * scale).sqrt_() * noise
    return State(moved, *potential(moved), state.step_size, memory)


def _remembered(state: State) -> Tensor:
    return torch.lerp(state.gradient.square(), state.memory, RMSPROP_DECAY)


def _scale(state: State) -> Tensor:
    """m of the step to come."""
    return _scale_at(_remembered(state).sqrt())


def _scale_at(gradient: Any) -> Any:
    """m where a gradient has been so large, a tensor or a number."""
    return 1 / (gradient + RMSPROP_STABILITY)


sgld = Kernel(_start, _sgld_step, "sgld", has_step_bias=True)
psgld = Kernel(_start_with_memory, _psgld_step, "psgld", scale=_scale, scale_at=_scale_at, has_step_bias=True)
