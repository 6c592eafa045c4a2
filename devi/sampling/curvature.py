"""Curvature: the Hessian of L at a checkpoint, and what it says of λ.

Near a minimum where the Hessian has rank r the loss is, in other coordinates, a sum of r squares and a function of the
other d − r directions alone (the splitting lemma: Gromoll & Meyer 1969). The integral of exp(−nβ·L) over both is then
a product, so that their λ add up: r/2 and something that is not below 0. So λ ≥ r/2, whatever a sampler finds.

Of few parameters the whole Hessian is taken. Of more, Lanczos' method is begun from random directions: its vectors
stand for as many eigenvalues as their share of the start says (stochastic Lanczos quadrature: Ubaru, Chen & Saad 2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from devi.sampling.posterior import Posterior

FEW_PARAMETERS = 200  # up to here the whole Hessian at the pilot checkpoints is cheap
MOST_PARAMETERS = 100_000  # and up to here some products with it
STEPS = 24  # of Lanczos' method
STARTS, MANY = 4, 1_000  # times, for a random direction in few dimensions tells little; of so many parameters once
# Of a Ritz value, its vector's residual: of one that is in part flat the rest then holds four fifths.
PURE = 0.5
NO_NEW_DIRECTION = 1e-5  # of the largest curvature: what is left of a product is rounding
ERRORS = 3.0  # of the rank as random directions tell it
NEAR, FAR = 1e-2, 2e-2  # how far away the gradients stand of which it is the difference
SMALLEST_CURVATURE = 1e-3  # of the largest: where one is smaller, no step suits all directions
LOPSIDED = 0.5  # of a curvature: what its two sides differ by, each from their mean
ASIDE, LEVEL = 32, 0.05  # looks in directions mixed of those with a kink; of the mean curvature of the two sides
SMOOTH = 2**0.5  # times that from twice as far: two where a third derivative makes it, one where a kink does
ANHARMONIC = 2.0  # times a curvature seen from twice as far: w⁴ has 4
# Of the curvatures' own rounding, which is what the two halves of the Hessian differ by; of the largest one at least.
ROUNDING, LEAST_ROUNDING = 4.0, 1e-6
REACH = 3.0  # widths 1/√γ that chains come to in a direction which γ alone holds
LOOKS = 8  # further away, each twice as far as the one before


class Curvatures(NamedTuple):
    """Of L at one checkpoint: eigenvalues of the Hessian, smallest first, and their directions (parameter, eigenvalue).

    far     the same, seen from twice as far
    kinked  (eigenvalue,) bool, whether the curvatures of the two sides differ however near they are looked at, and the
            loss is level to one side of these
    floor   a smaller eigenvalue may be rounding
    """

    near: Tensor
    far: Tensor
    directions: Tensor
    kinked: Tensor
    floor: float

    @property
    def are_quadratic(self) -> Tensor:
        """The directions in which the loss is a parabola near the checkpoint, (eigenvalue,) bool."""
        # A direction of higher order has some curvature at any distance, and more the farther it is looked at.
        # At the boundary of a ReLU the loss rises to one side alone; the mean of both is no curvature.
        return (self.near > self.floor) & (self.far < ANHARMONIC * self.near) & ~self.kinked

    @property
    def least(self) -> float:
        """What λ is at least: half of the Hessian's rank. 0 where the checkpoint is no minimum."""
        return 0.0 if self.near[0] < -self.floor else 0.5 * float(self.are_quadratic.sum())

    @property
    def is_regular(self) -> bool:
        """Whether one step suits all directions, and none is of higher order."""
        return bool(self.near[0] > SMALLEST_CURVATURE * self.near[-1] and self.far[0] < ANHARMONIC * self.near[0])


class Rank(NamedTuple):
    """Of the Hessian of a larger model, or where the loss is no number: as some random directions tell it.

    rank  0 where the checkpoint is no minimum
    """

    rank: float = 0.0
    dimension: int = 0
    starts: int = 1

    @property
    def least(self) -> float:
        """What λ is at least, but for ERRORS of the rank's errors."""
        # The share of a random direction in a space of that dimension is distributed as Beta(rank/2, (d − rank)/2).
        missing, d = max(self.dimension - self.rank, 0.0), self.dimension
        return max(0.5 * (self.rank - ERRORS * math.sqrt(2 * self.rank * missing / ((d + 2) * self.starts))), 0.0)


def curvatures(posterior: Posterior) -> list[Curvatures | Rank]:
    """At every checkpoint of a posterior of at most MOST_PARAMETERS; none of a larger one."""
    if posterior.dimension > MOST_PARAMETERS:
        return []
    at = _whole if posterior.dimension <= FEW_PARAMETERS else _sampled
    return [at(posterior, row) for row in range(len(posterior.centers))]


def gradients_of(dimension: int) -> int:
    """What the curvatures of one checkpoint cost."""
    if dimension > MOST_PARAMETERS:
        return 0
    return 8 * dimension if dimension <= FEW_PARAMETERS else 4 * STEPS * _starts(dimension)


class Regular(NamedTuple):
    """A γ, and the smallest curvature of nβ·L: chains relax at least at the rate ε/2 times that."""

    localization: float
    softest: float


def regular_localization(found: Sequence[Curvatures | Rank], n_beta: float, share: float) -> Regular | None:
    """The γ that holds `share` of the d directions, where none is flat at any checkpoint; None if some is.

    For a quadratic Σ γ/(nβ·λ_i + γ)/d is the share, with λ_i the eigenvalues of the Hessian of L at w*: half of
    d·share is what its estimate loses.
    """
    regular = [one for one in found if isinstance(one, Curvatures) and one.is_regular]
    if not found or len(regular) < len(found):
        return None
    # share ≈ γ·mean(1/(nβ·λ)), to first order in γ
    pulls = [share * n_beta / float((1 / one.near).mean()) for one in regular]
    return Regular(min(pulls), min(n_beta * float(one.near[0]) for one in regular))


def unexplored(posterior: Posterior, row: int, found: Curvatures | Rank, n_beta: float, localization: float) -> int:
    """Directions without curvature in which nβ·L rises by more than 1, but farther from w* than γ lets chains go.

    What they add to λ, a quarter each if they are of fourth order, chains cannot find; a direction that is flat for
    good, or whose rise they meet, does not count. 0 where only the rank is known: a random direction stands for many,
    and would rise with any of them.
    """
    if isinstance(found, Rank):
        return 0
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


def _whole(posterior: Posterior, row: int) -> Curvatures | Rank:
    near, far = _hessian(posterior, row, NEAR), _hessian(posterior, row, FAR)
    if not (near.isfinite().all() and far.isfinite().all()):
        return Rank()
    values, directions = torch.linalg.eigh((near + near.T) / 2)
    rounding = float(torch.linalg.matrix_norm((near - near.T) / 2, 2))
    floor = max(ROUNDING * rounding, LEAST_ROUNDING * float(values.abs().max()))
    kinked = _kinked(posterior, row, directions.T, values.where(values > floor, 0.0))
    return Curvatures(values, torch.linalg.eigvalsh((far + far.T) / 2), directions, kinked, floor)


def _kinked(posterior: Posterior, row: int, directions: Tensor, curvature: Tensor) -> Tensor:
    """Of each direction (direction, parameter); none where the loss rises on whichever side of those with a kink."""
    at = posterior.loss_and_gradient(
        posterior.centers[row][None], posterior.fixed_at(torch.tensor([row], device=posterior.device)), posterior.data
    )[1].double()
    near, far = (
        ((ahead + behind) / 2 - at).norm(dim=1) / reach
        for reach in (NEAR, FAR)
        for ahead, behind in [_sides(posterior, row, directions, reach)]
    )
    kinked = (curvature > 0) & (near > LOPSIDED * curvature) & (far < SMOOTH * near)
    # Where kinks are several, their own directions may all be mixtures of a side that rises and one that does not.
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(ASIDE, int(kinked.sum()), generator=generator, dtype=torch.float64).to(directions)
    aside = torch.nn.functional.normalize(mixing @ directions[kinked], dim=1)
    ahead, behind = (((side - at) * aside).sum(dim=1) for side in _sides(posterior, row, aside, NEAR))
    falls_flat = torch.minimum(ahead, -behind) < LEVEL * (ahead - behind) / 2
    return kinked & falls_flat.any()


def _sampled(posterior: Posterior, row: int) -> Rank:
    """By the Ritz values of Lanczos' method; those that are no eigenvalue stand for nothing."""
    generator = torch.Generator().manual_seed(0)
    starts = _starts(posterior.dimension)
    found = [one for _ in range(starts) if (one := _lanczos(posterior, row, generator)) is not None]
    if len(found) < starts:
        return Rank()
    near, far, counts, residuals = (torch.cat([getattr(one, name) for one in found]) for name in Ritz._fields[:4])
    floor = max(LEAST_ROUNDING * float(near.abs().max()), ROUNDING * max(one.rounding for one in found))
    if near.min() < -floor:
        return Rank()
    is_counted = (near > floor) & (far < ANHARMONIC * near) & (residuals <= PURE * near)
    return Rank(float(counts[is_counted].sum()) / starts, posterior.dimension, starts)


def _starts(dimension: int) -> int:
    return STARTS if dimension < MANY else 1


class Ritz(NamedTuple):
    """What Lanczos' method gives from one random direction, each (value,) float64.

    near, far  the curvature, and seen from twice as far;  counts  how many of the d directions each stands for
    residuals  of their vectors;  rounding  by how much products with the Hessian were not symmetric
    """

    near: Tensor
    far: Tensor
    counts: Tensor
    residuals: Tensor
    rounding: float


def _lanczos(posterior: Posterior, row: int, generator: torch.Generator) -> Ritz | None:
    """None where the loss is no number near the checkpoint."""
    start = torch.randn(posterior.dimension, generator=generator, dtype=torch.float64).to(posterior.device)
    basis, rounding = [start / start.norm()], 0.0
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        product = _products(posterior, row, basis[-1][None], NEAR)[0]
        if not product.isfinite().all():
            return None
        diagonal.append(float(product @ basis[-1]))
        if beside:
            rounding = max(rounding, abs(float(product @ basis[-2]) - beside[-1]))
        known = torch.stack(basis)
        for _ in range(2):  # once leaves rounding, which grows
            product = product - known.T @ (known @ product)
        beside.append(float(product.norm()))
        largest = max(map(abs, diagonal))
        if len(basis) == min(STEPS, posterior.dimension) or beside[-1] <= NO_NEW_DIRECTION * largest:
            break
        basis.append(product / beside[-1])
    off = torch.tensor(beside[:-1], dtype=torch.float64)
    tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + torch.diag(off, 1) + torch.diag(off, -1)
    values, vectors = torch.linalg.eigh(tridiagonal)
    directions = (vectors.T.to(known.device) @ known).contiguous()  # (value, parameter)
    far = (_products(posterior, row, directions, FAR) * directions).sum(dim=1)
    if not far.isfinite().all():
        return None
    counts, residuals = posterior.dimension * vectors[0].square(), beside[-1] * vectors[-1].abs()
    return Ritz(values, far.cpu(), counts, residuals, rounding)


def _hessian(posterior: Posterior, row: int, reach: float) -> Tensor:
    """(parameter, parameter) float64."""
    return _products(posterior, row, torch.eye(posterior.dimension, device=posterior.device), reach)


def _products(posterior: Posterior, row: int, directions: Tensor, reach: float) -> Tensor:
    """The Hessian times unit directions (direction, parameter) by differences of gradients that far away, float64."""
    ahead, behind = _sides(posterior, row, directions, reach)
    return (ahead - behind) / (2 * reach)


def _sides(posterior: Posterior, row: int, directions: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """The gradients that far away to either side in each direction, (direction, parameter) float64."""
    found, center = [], posterior.centers[row]
    for some in directions.split(posterior.replicas_at_once(posterior.examples)):
        moves = reach * some.to(posterior.dtype)
        fixed = posterior.fixed_at(torch.full((len(some),), row, device=posterior.device))
        ahead = posterior.loss_and_gradient(center + moves, fixed, posterior.data)[1].clone()
        behind = posterior.loss_and_gradient(center - moves, fixed, posterior.data)[1]
        found.append((ahead.double(), behind.double()))
    ahead, behind = (torch.cat(side) for side in zip(*found, strict=True))
    return ahead, behind


def _losses(posterior: Posterior, row: int, moves: Tensor) -> Tensor:
    """L that far from a checkpoint, (move,) float64 on the CPU."""
    found = []
    for some in moves.split(posterior.replicas_at_once(posterior.examples)):
        fixed = posterior.fixed_at(torch.full((len(some),), row, device=posterior.device))
        found.append(posterior.loss_and_gradient(posterior.centers[row] + some, fixed, posterior.data)[0])
    return torch.cat(found).double().cpu()
