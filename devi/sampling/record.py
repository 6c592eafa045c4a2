"""Record: how walks are planned, and what they leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from devi.sampling.kernels import Kernel
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
    scaled       (R, V, 3) float64  Σ m·∇L², Σ m·(w − w*)·∇L, Σ m·(w − w*)², m what the kernel scales the step by
    by_tensor    (R, P) float64     mean over visits of (w − w*)·∇L, by parameter tensor
    step_size    (R,) float64       after burn-in
    acceptance   (R,) float64       mean over draws; 1 for a kernel that accepts everything
    """

    excess: Tensor
    loss_force: Tensor
    distance: Tensor
    scaled: Tensor
    by_tensor: Tensor
    step_size: Tensor
    acceptance: Tensor


class Plan(NamedTuple):
    """How all replicas walk: numbers but for step_size and localization, (replica, 1) in the posterior's dtype.

    n_beta      one for all, or (replica, 1)
    batch_size  examples per gradient; all of them if it is the size of the training set
    """

    step_size: Tensor
    n_beta: float | Tensor
    localization: Tensor
    burn_in: int
    batch_size: int
    seed: int

    def rows(self, part: slice) -> Plan:
        """The plan of some of the replicas."""
        n_beta = self.n_beta[part] if isinstance(self.n_beta, Tensor) else self.n_beta
        return self._replace(step_size=self.step_size[part], n_beta=n_beta, localization=self.localization[part])


class Part(Protocol):
    """Some of the replicas: where they are, and what they have left behind."""

    kept: Watch | None
    gradients: int

    def forget(self) -> None: ...


P = TypeVar("P", bound="Part")


class Parts(Generic[P]):
    """Replicas in parts that walk by themselves."""

    parts: Sequence[P]

    def forget(self) -> None:
        """Drop what was recorded so far: it was burn-in after all."""
        for part in self.parts:
            part.forget()

    def kept(self) -> list[Watch]:
        """What was watched so far, part by part."""
        return [part.kept for part in self.parts if part.kept is not None]

    @property
    def gradients(self) -> int:
        """Gradients taken so far, each of one replica's loss on one batch."""
        return sum(part.gradients for part in self.parts)


def sums(values: Tensor, sizes: list[int]) -> Tensor:
    """(replica, parameter) -> (replica, group) in float64: sums over neighbours, so many at a time."""
    exact = values.double()  # first: sums of parts that convert as they go took 20 times as long
    if len(sizes) == values.shape[1] and 0 not in sizes:
        return exact
    return torch.stack([part.sum(dim=1) for part in exact.split(sizes, dim=1)], dim=1)


def groups_of(posterior: Posterior) -> list[int]:
    """Sizes of the groups of parameters that the virial is recorded for: each parameter, tensor, or several tensors."""
    if posterior.dimension <= FEW_PARAMETERS:
        return [1] * posterior.dimension
    several = -(-len(posterior.sizes) // MOST_GROUPS)
    return [sum(posterior.sizes[first : first + several]) for first in range(0, len(posterior.sizes), several)]


def visit_every(kernel: Kernel) -> int:
    return 1 if kernel.is_adjusted else VISIT_EVERY
