"""Curvature: the whole Hessian of L at a checkpoint, where there are few enough parameters, and what it says of λ.

Near a minimum where the Hessian has rank r the loss is, in other coordinates, a sum of r squares and a function of the
other d − r directions alone (the splitting lemma: Gromoll & Meyer 1969). The integral of exp(−nβ·L) over both is then
a product, so that their λ add up: r/2 and something that is not below 0. So λ ≥ r/2, whatever a sampler finds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from devi.sampling.posterior import Posterior

FEW_PARAMETERS = 200  # up to here the whole Hessian at the pilot checkpoints is cheap
NEAR, FAR = 1e-2, 2e-2  # how far away the gradients stand of which it is the difference
SMALLEST_CURVATURE = 1e-3  # of the largest: where one is smaller, no step suits all directions
ANHARMONIC = 2.0  # times a curvature seen from twice as far: w⁴ has 4
# Of the curvatures' own rounding, which is what the two halves of the Hessian differ by; of the largest one at least.
ROUNDING, LEAST_ROUNDING = 4.0, 1e-6
REACH = 3.0  # widths 1/√γ that chains come to in a direction which γ alone holds
LOOKS = 8  # further away, each twice as far as the one before


class Curvatures(NamedTuple):
    """Of L at one checkpoint: eigenvalues of the Hessian, smallest first, and their directions (parameter, eigenvalue).

    far    the same, seen from twice as far
    floor  a smaller eigenvalue may be rounding
    """

    near: Tensor
    far: Tensor
    directions: Tensor
    floor: float

    @property
    def are_quadratic(self) -> Tensor:
        """The directions in which the loss is a parabola near the checkpoint, (eigenvalue,) bool."""
        # A direction of higher order has some curvature at any distance, and more the farther it is looked at.
        return (self.near > self.floor) & (self.far < ANHARMONIC * self.near)

    @property
    def least(self) -> float:
        """What λ is at least: half of the Hessian's rank. 0 where the checkpoint is no minimum."""
        return 0.0 if self.near[0] < -self.floor else 0.5 * float(self.are_quadratic.sum())

    @property
    def is_regular(self) -> bool:
        """Whether one step suits all directions, and none is of higher order."""
        return bool(self.near[0] > SMALLEST_CURVATURE * self.near[-1] and self.far[0] < ANHARMONIC * self.near[0])


def curvatures(posterior: Posterior) -> list[Curvatures]:
    """At every checkpoint of a posterior of at most FEW_PARAMETERS; none of a larger one."""
    if posterior.dimension > FEW_PARAMETERS:
        return []
    return [_at(posterior, row) for row in range(len(posterior.centers))]


class Regular(NamedTuple):
    """A γ, and the smallest curvature of nβ·L: chains relax at least at the rate ε/2 times that."""

    localization: float
    softest: float


def regular_localization(found: list[Curvatures], n_beta: float, share: float) -> Regular | None:
    """The γ that holds `share` of the d directions, where none is flat at any checkpoint; None if some is.

    For a quadratic Σ γ/(nβ·λ_i + γ)/d is the share, with λ_i the eigenvalues of the Hessian of L at w*: half of
    d·share is what its estimate loses.
    """
    if not found or not all(one.is_regular for one in found):
        return None
    # share ≈ γ·mean(1/(nβ·λ)), to first order in γ
    pulls = [share * n_beta / float((1 / one.near).mean()) for one in found]
    return Regular(min(pulls), min(n_beta * float(one.near[0]) for one in found))


def unexplored(posterior: Posterior, row: int, found: Curvatures, n_beta: float, localization: float) -> int:
    """Directions without curvature in which nβ·L rises by more than 1, but farther from w* than γ lets chains go.

    What they add to λ, a quarter each if they are of fourth order, chains cannot find; a direction that is flat for
    good, or whose rise they meet, does not count.
    """
    flat = found.directions[:, ~found.are_quadratic & (found.near > -found.floor)].T
    if localization <= 0 or len(flat) == 0:
        return 0
    # Turned at random: along the axis of a crossing the loss is flat, and a little beside it rises very far away.
    generator = torch.Generator().manual_seed(0)
    mixing = torch.linalg.qr(torch.randn(len(flat), len(flat), generator=generator, dtype=flat.dtype))[0]
    flat = (mixing.to(flat.device) @ flat).to(posterior.dtype)
    distances = [side * REACH / math.sqrt(localization) * 2.0**look for look in range(LOOKS) for side in (1, -1)]
    far = torch.tensor(distances, dtype=posterior.dtype, device=posterior.device)
    moves = (far[:, None, None] * flat).flatten(0, 1)  # (distance · direction, parameter)
    rise = n_beta * (_losses(posterior, row, moves) - posterior.base_loss[row].cpu()).view(len(far), len(flat))
    has_risen = rise > 1  # what is no number does not compare
    return int((has_risen.any(dim=0) & ~has_risen[:2].any(dim=0)).sum())


def _at(posterior: Posterior, row: int) -> Curvatures:
    near, far = _hessian(posterior, row, NEAR), _hessian(posterior, row, FAR)
    values, directions = torch.linalg.eigh((near + near.T) / 2)
    rounding = float(torch.linalg.matrix_norm((near - near.T) / 2, 2))
    floor = max(ROUNDING * rounding, LEAST_ROUNDING * float(values.abs().max()))
    return Curvatures(values, torch.linalg.eigvalsh((far + far.T) / 2), directions, floor)


def _hessian(posterior: Posterior, row: int, reach: float) -> Tensor:
    """By differences of gradients that far away, (parameter, parameter) float64."""
    moves = reach * torch.eye(posterior.dimension, dtype=posterior.dtype, device=posterior.device)
    rows = torch.full((posterior.dimension,), row, device=posterior.device)
    fixed, center = posterior.fixed_at(rows), posterior.centers[row]
    ahead = posterior.loss_and_gradient(center + moves, fixed, posterior.data)[1]
    behind = posterior.loss_and_gradient(center - moves, fixed, posterior.data)[1]
    return ((ahead - behind) / (2 * reach)).double()


def _losses(posterior: Posterior, row: int, moves: Tensor) -> Tensor:
    """L that far from a checkpoint, (move,) float64 on the CPU."""
    found = []
    for some in moves.split(posterior.replicas_at_once(posterior.examples)):
        fixed = posterior.fixed_at(torch.full((len(some),), row, device=posterior.device))
        found.append(posterior.loss_and_gradient(posterior.centers[row] + some, fixed, posterior.data)[0])
    return torch.cat(found).double().cpu()
