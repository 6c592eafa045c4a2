"""Kernels: one step of a sampler as a pair of pure functions, over any leading (checkpoint, chain) axes.

    sgld    w ← w − (ε/2)·(nβ·∇L(w) + γ·(w − w*)) + √ε·N(0, I)
    psgld   w ← w − (ε/2)·m∘(nβ·∇L(w) + γ·(w − w*)) + √(ε·m)∘N(0, I),   m = 1/(√v + δ),  v ← α·v + (1 − α)·∇L²

w, w*, ∇L and the noise are (..., parameter); the settings are numbers or tensors (..., 1), one per replica.
Sources: Welling & Teh 2011 (sgld); Lau et al. 2023, arXiv:2308.12108 (localized); Li et al. 2016, arXiv:1512.07666
(psgld, without the term Γ, as is usual).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from devi.errors import unknown_name

RMSPROP_DECAY = 0.99  # α, and δ: Li et al. 2016, section 5
RMSPROP_STABILITY = 1e-5


class State(NamedTuple):
    """Where the replicas are, (..., parameter), and what the kernel remembers between steps."""

    position: Tensor
    memory: Tensor | None = None


class Step(Protocol):
    def __call__(
        self,
        state: State,
        gradient: Tensor,
        center: Tensor,
        noise: Tensor,
        *,
        step_size: Tensor | float,
        n_beta: Tensor | float,
        localization: Tensor | float,
    ) -> State: ...


class Kernel(NamedTuple):
    """`init(position)` gives the first state; `step` the next, from ∇L at the position and standard normal noise."""

    init: Callable[[Tensor], State]
    step: Step
    name: str = "custom"


def _start(position: Tensor) -> State:
    return State(position)


def _sgld_step(
    state: State,
    gradient: Tensor,
    center: Tensor,
    noise: Tensor,
    *,
    step_size: Tensor | float,
    n_beta: Tensor | float,
    localization: Tensor | float,
) -> State:
    position = state.position
    step_size, n_beta, localization = (_like(position, setting) for setting in (step_size, n_beta, localization))
    # w − (εγ/2)(w − w*) is an interpolation towards w*, exact where w = w*; one new tensor, two fused updates.
    position = torch.lerp(position, center, 0.5 * step_size * localization)
    position.addcmul_(gradient, -0.5 * step_size * n_beta)
    position.addcmul_(noise, step_size.sqrt())
    return State(position)


def _psgld_start(position: Tensor) -> State:
    return State(position, torch.zeros_like(position))


def _psgld_step(
    state: State,
    gradient: Tensor,
    center: Tensor,
    noise: Tensor,
    *,
    step_size: Tensor | float,
    n_beta: Tensor | float,
    localization: Tensor | float,
) -> State:
    assert state.memory is not None
    position = state.position
    step_size, n_beta, localization = (_like(position, setting) for setting in (step_size, n_beta, localization))
    memory = torch.lerp(gradient.square(), state.memory, RMSPROP_DECAY)
    scale = (memory.sqrt() + RMSPROP_STABILITY).reciprocal_()
    force = (position - center).mul_(localization).addcmul_(gradient, n_beta)
    moved = position - 0.5 * step_size * scale * force + (step_size * scale).sqrt_() * noise
    return State(moved, memory)


def _like(position: Tensor, setting: Tensor | float) -> Tensor:
    return torch.as_tensor(setting, dtype=position.dtype, device=position.device)


sgld = Kernel(_start, _sgld_step, "sgld")
psgld = Kernel(_psgld_start, _psgld_step, "psgld")
KERNELS: dict[str, Kernel] = {"sgld": sgld, "psgld": psgld}


def kernel_named(kernel: str | Kernel) -> Kernel:
    """The kernel that `kernel` names, or the kernel itself."""
    if isinstance(kernel, Kernel):
        return kernel
    if kernel not in KERNELS:
        raise unknown_name("sampler", kernel, KERNELS)
    return KERNELS[kernel]
