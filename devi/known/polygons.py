"""The toy model of superposition, six features in the plane, at the polygons that are minima of its loss.

    point    features in the plane         λ      why
    6-gon    6, biases below 0             17/2   half the rank of the Hessian: of 18 parameters a rotation is free
    5-gon    5, and one that is dead       14/2   the dead feature's two weights and its bias are free as well
    5-gon+   5, one with a bias above 0    17/2   the sixth is at the origin: only the rotation is free
    4-gon    4, and two that are dead      15/2   one rotation and two biases are free

At the 4-gon (orthogonal features of length 1, zero biases) ReLUs sit at their corner. To leading order the loss there
is a positive function of 15 directions, homogeneous of degree 2, and such a loss has λ = 15/2 as a quadratic has.
Source: Chen et al. 2023, arXiv:2310.06301 (the critical points and their names).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from devi.task import Batch, Split
from devi.tasks.superposition import Superposition

DEAD = -0.5  # a bias far enough below 0 for its ReLU to stay closed around the point
# Where the descent to the minimum starts: corners, length of the features, their bias, bias of the others.
STARTS = {"6-gon": (6, 1.3, -0.6, DEAD), "5-gon": (5, 1.1, -0.3, DEAD), "5-gon+": (5, 1.1, -0.3, 0.08)}
GRADIENT = 1e-9  # with curvatures of 0.03 and more, 1e-16 of loss is left below the point
FLAT = 1e-5  # of the Hessian's eigenvalues: the smallest that is not 0 is 0.03
NEIGHBOURS = 12  # minima looked at around the first; two to five different ones were found within 0.02


@dataclass(frozen=True)
class EvenSuperposition(Superposition):
    """Superposition without importance where the size of the one feature present takes evenly spaced values.

    An example whose ReLU just closes puts a ridge into the loss. With 1000 random sizes the ridges cut the basin of
    the 6-gon into minima 1.5e-5 apart, which nβ beyond 10⁴ resolves; 150 even sizes leave one minimum.
    """

    importance_decay: float = 1.0
    sizes: int = 150

    def data(self, split: Split) -> Batch:
        values = (torch.arange(self.sizes) + 0.5) / self.sizes
        x = torch.cat([values[:, None] * one for one in torch.eye(self.features)])  # (feature · size, feature)
        return Batch(x, x)


def polygon_point(task: Superposition, name: str) -> nn.Module:
    """The minimum called `name` of the loss on the training data of `task`, in float64."""
    if name == "4-gon":
        return _model(task, _polygon(4, 1.0, 0.0, DEAD))  # exact: these features are read back without loss
    loss = loss_of(task)
    first = descended(loss, _polygon(*STARTS[name]))
    if isinstance(task, EvenSuperposition):
        return _model(task, first)
    generator = torch.Generator().manual_seed(0)
    noises = [torch.randn(len(first), generator=generator, dtype=first.dtype) for _ in range(NEIGHBOURS)]
    return _model(task, min((first, *(descended(loss, first + 0.02 * noise) for noise in noises)), key=loss))


def loss_of(task: Superposition) -> Callable[[Tensor], Tensor]:
    """L_n of the flat parameters, W then b, (18,), in float64."""
    model = _model(task, _polygon(4, 1.0, 0.0, DEAD))
    inputs, targets = (part.double() for part in task.data("train"))

    def loss(w: Tensor) -> Tensor:
        return task.loss(functional_call(model, _state(w), (inputs,)), targets).mean()

    return loss


def descended(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """The minimum that Newton's method reaches: along each eigenvector of the Hessian by gradient / |curvature|.

    Flat directions stay as they are; a step that does not lower the loss is halved.
    """
    w = start
    for _ in range(60):
        here = w.detach().requires_grad_()
        before = loss(here)
        (gradient,) = torch.autograd.grad(before, here)
        if float(gradient.abs().max()) < GRADIENT:
            break
        curvatures, directions = torch.linalg.eigh(hessian(loss, w))
        inverse = torch.where(curvatures.abs() > FLAT, 1 / curvatures.abs(), 0.0)
        move = -directions @ (inverse * (directions.T @ gradient))
        while float(loss(w + move)) > float(before.detach()) and float(move.norm()) > 1e-12:
            move = move / 2
        w = w + move
    return w


def _polygon(corners: int, length: float, bias: float, other_bias: float) -> Tensor:
    """Six features in the plane, the first `corners` on a regular polygon and the rest at 0; W then b, (18,)."""
    angles = 2 * math.pi * torch.arange(corners, dtype=torch.float64) / corners
    features = torch.zeros(2, 6, dtype=torch.float64)
    features[:, :corners] = length * torch.stack([angles.cos(), angles.sin()])
    biases = torch.full((6,), other_bias, dtype=torch.float64)
    biases[:corners] = bias
    return torch.cat([features.flatten(), biases])


def _state(w: Tensor) -> dict[str, Tensor]:
    return {"W": w[:12].view(2, 6), "b": w[12:]}


def _model(task: Superposition, w: Tensor) -> nn.Module:
    with torch.random.fork_rng():
        model = task.model().double()
    model.load_state_dict(_state(w))
    return model
