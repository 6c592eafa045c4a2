"""Kernels: a sampler as pure functions over any leading (checkpoint, chain) axes, the replicas.

They draw from  p(w) ∝ exp(−U(w)),   U(w) = nβ·L(w) + (γ/2)·‖w − w*‖².
One file a family: `langevin` (sgld, psgld) and `hamiltonian` (hmc, mala).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor

# position (..., parameter) -> L − L(w*) (...,) in float64, and its gradient (..., parameter)
Potential = Callable[[Tensor], tuple[Tensor, Tensor]]


class Target(NamedTuple):
    """What is drawn from; center (..., parameter), the other two numbers or (..., 1), one per replica."""

    center: Tensor
    n_beta: Tensor | float
    localization: Tensor | float

    def force(self, position: Tensor, gradient: Tensor) -> Tensor:
        """∇U = nβ·∇L + γ·(w − w*)."""
        return (position - self.center).mul_(self.localization).addcmul_(gradient, like(position, self.n_beta))

    def energy(self, position: Tensor, excess: Tensor) -> Tensor:
        """U less nβ·L(w*), (...,) float64."""
        pull = (position - self.center).double().square_().mul_(self.localization).sum(dim=-1)
        n_beta = self.n_beta[..., 0] if isinstance(self.n_beta, Tensor) else self.n_beta
        return n_beta * excess + 0.5 * pull


class State(NamedTuple):
    """Where the replicas are, and what is known there.

    position   (..., parameter)
    excess     (...,) float64    L − L(w*)
    gradient   (..., parameter)  ∇L
    step_size  (..., 1)
    memory                       what the kernel remembers between steps
    """

    position: Tensor
    excess: Tensor
    gradient: Tensor
    step_size: Tensor
    memory: Any = None


class Step(Protocol):
    def __call__(self, state: State, potential: Potential, target: Target, noise: Tensor, jitter: float) -> State: ...


def unscaled(gradient: float) -> float:
    return 1.0


class Kernel(NamedTuple):
    """`init(position, potential, step_size)` gives the first state, `step` the next.

    step           gets standard normal noise (..., parameter + extra_normals), and one uniform number for all replicas
    adapt          called in burn-in after each step, with the share of it that is done, 1 at its end; then no more
    is_adjusted    accepts or rejects, so that its draws have the right distribution whatever the step size; needs
                   the gradient of all examples, and a `memory.acceptance` (..., 1) of the last step
    gradients_per_step  on average
    scale          what multiplies the step size of each parameter at a state, (..., parameter); None: 1
    scale_at       the same where ∇L of a parameter has so large a root mean square; 0 where the loss is flat
    has_step_bias  its finite step has the formulas of `devi.sampling.stein`
    """

    init: Callable[[Tensor, Potential, Tensor], State]
    step: Step
    name: str = "custom"
    adapt: Callable[[State, float], State] | None = None
    extra_normals: int = 0
    is_adjusted: bool = False
    gradients_per_step: float = 1
    scale: Callable[[State], Tensor] | None = None
    scale_at: Callable[[float], float] = unscaled
    has_step_bias: bool = False


def like(position: Tensor, setting: Tensor | float) -> Tensor:
    """The setting as a tensor of the position's dtype and device."""
    return position.new_tensor(setting) if not isinstance(setting, Tensor) else setting.to(position)
