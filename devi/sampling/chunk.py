"""Chunk: replicas that take their steps together, as many as stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from devi.errors import DeviError
from devi.sampling.kernels import Kernel, State, Target
from devi.sampling.noise import Noise, stream
from devi.sampling.posterior import Posterior
from devi.sampling.record import Plan, Walk, groups_of, sums, visit_every
from devi.sampling.watch import Watch

# What `advance` changes beside what its walk holds: attributes of a chunk.
CHANGING = ("state", "gradients", "steps", "base", "by_tensor", "accepted", "kept", "noise", "examples", "jitter")


class Chunk:
    """Some of the replicas: where they are, and what they have left behind."""

    def __init__(
        self,
        posterior: Posterior,
        kernel: Kernel,
        rows: Tensor,
        keys: Sequence[tuple[int, int]],
        plan: Plan,
        kept: Watch | None,
    ) -> None:
        self.kernel, self.plan, self.kept = kernel, plan, kept
        self.center = posterior.centers[rows]  # (replica, parameter)
        self.fixed = posterior.fixed_at(rows)
        self.is_full = plan.batch_size >= posterior.examples
        checkpoints, self.checkpoint_of = torch.unique(rows, return_inverse=True)
        self.base_losses = posterior.base_losses[checkpoints]  # (checkpoint, example)
        self.target = Target(self.center, plan.n_beta, plan.localization)
        self.noise = Noise(plan.seed, keys, self.center.shape[1] + kernel.extra_normals, self.center)
        self.examples = torch.Generator().manual_seed(stream(plan.seed, -1, -1))
        self.jitter = torch.Generator().manual_seed(stream(plan.seed, -2, -2))
        self.sizes, self.groups = posterior.sizes, groups_of(posterior)
        self.kinds = [len(self.groups), len(self.groups), 3]  # how many numbers of each a visit records
        self.visit_every = visit_every(kernel)
        self.state: State | None = None
        self.gradients = 0
        self.steps = 0
        self.base: Tensor | None = None  # L(w*) on all examples, (replica,) float64, where they are all used
        self.forget()

    def forget(self) -> None:
        self.excess: list[Tensor] = []
        self.visits: list[Tensor] = []  # each (replica, loss_force + distance + scaled)
        self.by_tensor = self.center.new_zeros(len(self.center), len(self.sizes), dtype=torch.float64)
        self.accepted = self.center.new_zeros(len(self.center), dtype=torch.float64)
        if self.kept is not None:
            self.kept.forget()

    def left_behind(self) -> dict[str, Any]:
        """What walking changes, for the same chunk in another process to `take_up`."""
        return {name: getattr(self, name) for name in CHANGING}

    def take_up(self, walk: Walk, changed: dict[str, Any]) -> None:
        """Stand where the same chunk stands after this walk, in another process."""
        before = self.kept
        self.__dict__.update(changed)
        if self.kept is not None and before is not None:
            self.kept.take_up(before)
        self.excess = list(walk.excess.unbind(dim=1))
        self.visits = list(torch.cat((walk.loss_force, walk.distance, walk.scaled), dim=2).unbind(dim=1))

    def advance(self, posterior: Posterior, draws: int, report: Callable[[float], None]) -> Walk:
        steps = draws + (self.plan.burn_in if self.state is None else 0)
        rows = self._rows(draws)
        for number in range(steps):
            self._step(posterior)
            if self.steps > self.plan.burn_in:
                self._record(posterior, rows)
            if number % 16 == 0:
                report(number / steps)
        report(1.0)
        assert self.state is not None
        mixed, distance, scaled = torch.stack(self.visits, dim=1).split(self.kinds, dim=2)
        step_size = self.state.step_size[:, 0].double()
        by_tensor, acceptance = self.by_tensor / len(self.visits), self.accepted / len(self.excess)
        return Walk(torch.stack(self.excess, dim=1), mixed, distance, scaled, by_tensor, step_size, acceptance)

    def _step(self, posterior: Posterior) -> None:
        """The first step is w* itself."""

        def potential(position: Tensor) -> tuple[Tensor, Tensor]:
            self.gradients += len(position)
            data, base = posterior.data, self.base
            if not self.is_full:
                index = torch.randperm(posterior.examples, generator=self.examples)[: self.plan.batch_size]
                index = index.to(position.device)
                data = posterior.minibatch(index)
                # The same examples at w*: a minibatch shifts both losses alike, so their difference is unbiased, quiet
                base = self.base_losses.index_select(1, index).mean(dim=1, dtype=torch.float64)[self.checkpoint_of]
            loss, gradient = posterior.loss_and_gradient(position, self.fixed, data)
            if base is None:
                # By the same operations as along the chain: one that stays at w* then reads a difference of exactly 0
                base = self.base = loss
            return loss - base, gradient

        if self.state is None:
            self.state = self._checked(self.kernel.init(self.center.clone(), potential, self.plan.step_size), "init")
        else:
            jitter = float(torch.rand((), generator=self.jitter))
            state = self.kernel.step(self.state, potential, self.target, self.noise.next(), jitter)
            self.state = self._checked(state, "step")
            if self.kernel.adapt is not None and self.steps <= self.plan.burn_in:
                self.state = self._checked(self.kernel.adapt(self.state, self.steps / self.plan.burn_in), "adapt")
        self.steps += 1

    def _checked(self, state: State, function: str) -> State:
        """The state, if it is one: kernels may be the user's own. Raises DeviError."""
        if not isinstance(state, State):
            got = f"a {type(state).__name__}"
        elif state.position.shape != self.center.shape or state.excess.shape != self.center.shape[:1]:
            got = f"position {tuple(state.position.shape)} and excess {tuple(state.excess.shape)}"
        else:
            return state
        shape = tuple(self.center.shape)
        raise DeviError(
            f"kernel {self.kernel.name}: {function} returned {got}; expected a devi.sampling.kernels.State with"
            f" position {shape} and excess {shape[:1]}: return state._replace(position=new, excess=excess, gradient=g)"
        )

    def _rows(self, draws: int) -> tuple[Iterator[Tensor], Iterator[Tensor]]:
        """Room for the excess of so many draws (replica,), and for what is recorded of visits, see `self.visits`.

        Made before: numbers that stay, each allocated between the temporaries of two steps, kept the room of one from
        being used again, and the memory of 3 million parameters grew by 5 MB a draw and replica.
        """
        begun, replicas = len(self.excess), len(self.center)
        visits = sum(place % self.visit_every == 0 for place in range(begun, begun + draws))
        excess = self.center.new_empty(draws, replicas, dtype=torch.float64)
        visited = self.center.new_empty(visits, replicas, sum(self.kinds), dtype=torch.float64)
        return iter(excess.unbind()), iter(visited.unbind())

    def _record(self, posterior: Posterior, rows: tuple[Iterator[Tensor], Iterator[Tensor]]) -> None:
        of_excess, of_visits = rows
        assert self.state is not None
        if self.kept is not None:
            self.kept.visit(len(self.excess), posterior, self.state.position, self.fixed)
        if len(self.excess) % self.visit_every == 0:
            self.visits.append(self._visit(self.state, next(of_visits)))
        self.excess.append(next(of_excess).copy_(self.state.excess))
        self.accepted += 1.0 if not self.kernel.is_adjusted else self.state.memory.acceptance[:, 0]

    def _visit(self, state: State, room: Tensor) -> Tensor:
        mixed, distance, scaled = room.split(self.kinds, dim=1)
        offset = state.position - self.center
        products = state.gradient.square(), offset * state.gradient, offset.square_()
        mixed.copy_(sums(products[1], self.groups))
        distance.copy_(sums(products[2], self.groups))
        self.by_tensor += mixed if self.groups == self.sizes else sums(products[1], self.sizes)
        everything = [offset.shape[1]]
        if self.kernel.scale is None:
            parts = [sums(products[0], everything), mixed.sum(dim=1, keepdim=True), distance.sum(dim=1, keepdim=True)]
        else:
            scale = self.kernel.scale(state)
            parts = [sums(product.mul_(scale), everything) for product in products]
        scaled.copy_(torch.cat(parts, dim=1))
        return room
