"""Linear networks of any depth, and the points of their fibres at which λ is known.

    y = W_L ⋯ W_1·x,  L_n(w) = mean of ½‖y − target‖²

The inputs are whitened exactly, XᵀX/n = I, so that without noise L_n(w) = ½‖W_L ⋯ W_1 − teacher‖² to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from devi.errors import DeviError
from devi.known.rank_zero import two_layer_expectation
from devi.task import Batch, Split, Task


@dataclass(frozen=True)
class LinearNetwork(Task):
    """A student of `widths` learns a teacher of `rank`, all of whose singular values are 1.

    noise   standard deviation of the targets' noise
    """

    widths: tuple[int, ...] = (5, 3, 4)
    rank: int = 3
    noise: float = 0.0
    examples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rank <= min(self.widths):
            raise DeviError(
                f"linear network {'-'.join(map(str, self.widths))}: rank {self.rank} is not possible;"
                f" expected 0 to {min(self.widths)}, the smallest width."
            )

    def model(self) -> nn.Module:
        layers = pairwise(self.widths)
        return nn.Sequential(*(nn.Linear(before, after, bias=False) for before, after in layers))

    def data(self, split: Split) -> Batch | None:
        if split == "test":
            return None
        inputs, targets = self.exact_data()
        return Batch(inputs.float(), targets.float())

    def exact_data(self) -> Batch:
        """Inputs (example, M) with XᵀX/n = I and targets (example, N), in float64."""
        generator = torch.Generator().manual_seed(self.seed)
        gaussian = torch.randn(self.examples, self.widths[0], generator=generator, dtype=torch.float64)
        inputs = torch.linalg.qr(gaussian).Q * self.examples**0.5
        noise = torch.randn(self.examples, self.widths[-1], generator=generator, dtype=torch.float64)
        return Batch(inputs, inputs @ self.teacher().T + self.noise * noise)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * (outputs - targets).square().sum(1)

    def bases(self) -> list[Tensor]:
        """An orthogonal matrix (width, width) for each width: directions along which the teacher passes."""
        generator = torch.Generator().manual_seed(1_000_000 + self.seed)
        squares = [torch.randn(width, width, generator=generator, dtype=torch.float64) for width in self.widths]
        return [torch.linalg.qr(square).Q for square in squares]

    def teacher(self) -> Tensor:
        """(N, M), of rank `rank`."""
        first, *_, last = self.bases()
        return last[:, : self.rank] @ first[:, : self.rank].T

    def most_singular(self) -> nn.Module:
        """The point with every layer of rank `rank`: each passes the same `rank` directions on.

        With noise the smallest width must be `rank`. The point is then the minimum over all products of that rank:
        with whitened inputs, the leading singular part of least squares (Eckart & Young 1936).
        """
        rank, bases = self.rank, self.bases()
        if self.noise:
            if rank < min(self.widths):
                raise DeviError(
                    f"linear network {'-'.join(map(str, self.widths))} with noise: its minimum has rank"
                    f" {min(self.widths)}, since noise is fitted too; expected rank={min(self.widths)}, got {rank}."
                )
            inputs, targets = self.exact_data()
            left, strength, right = torch.linalg.svd(targets.T @ inputs / self.examples, full_matrices=False)
            # The strength goes to the last layer. Any share of it lies in the same fibre.
            bases[-1], bases[0] = left * strength, right.T
        pairs = pairwise(bases)
        return self.at([after[:, :rank] @ before[:, :rank].T for before, after in pairs])

    def with_extra_rank(self, first: int, second: int) -> nn.Module:
        """Two layers of ranks `first` and `second` whose product is the teacher: the rest of each meets a zero."""
        if len(self.widths) != 3 or self.noise:
            raise DeviError("a point with extra rank is known for two layers without noise; expected widths=(M, H, N).")
        rank = self.rank
        start, middle, end = self.bases()
        beyond = slice(first, first + second - rank)  # hidden directions that only the second layer reads
        if second < rank or first < rank or beyond.stop > self.widths[1] or second > self.widths[2]:
            raise DeviError(
                f"layers of ranks {first} and {second} cannot have a product of rank {rank} through"
                f" {self.widths[1]} hidden units; expected ranks of at least {rank} that add up to"
                f" {self.widths[1] + rank} or less."
            )
        lower = middle[:, :first] @ start[:, :first].T
        upper = end[:, :rank] @ middle[:, :rank].T + end[:, rank:second] @ middle[:, beyond].T
        return self.at([lower, upper])

    def exact_at(self, n_beta: float, localization: float) -> float:
        """nβ·E[L_n(w)] around w* = 0, for two layers and rank 0: see `devi.known.rank_zero`."""
        if len(self.widths) != 3 or self.rank or self.noise:
            raise DeviError("the expectation at finite nβ is known for two layers at rank 0 without noise.")
        return two_layer_expectation(*self.widths, n_beta, localization)

    def at(self, layers: Sequence[Tensor]) -> nn.Module:
        """The model with these weights, in float64."""
        model = self.model().double()
        for parameter, layer in zip(model.parameters(), layers, strict=True):
            parameter.data.copy_(layer)
        return model
