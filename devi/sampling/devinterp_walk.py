"""The reference walk: the same chains through devinterp's own SGMCMC optimizer, one replica after another.

    w ← w − (ε/2)·( nβ·∇L_B(w) + γ·(w − w*) ) + √ε·N(0, I)      by `devinterp.optim.SGMCMC.sgld`

Nothing of `Walkers` is used but their minibatches and their record: the model is an ordinary module, its gradient one
ordinary backward pass, the step and the noise devinterp's. Given the same noise the two agree to rounding, and without
it within their errors, so a disagreement is a bug in one of them. It costs what one module's backward pass costs.
Source of the step: devinterp 2.0.1, optim/sgmcmc.py, `SGMCMC.step`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from devi.errors import DeviError
from devi.sampling.noise import stream
from devi.sampling.posterior import Posterior
from devi.sampling.record import VISIT_EVERY, Parts, Plan, Walk, groups_of, sums
from devi.sampling.watch import Watch
from devi.task import Batch

if TYPE_CHECKING:
    from devinterp.optim import SGMCMC


class DevinterpWalkers(Parts["_Chain"]):
    """Replicas that walk one after another; `advance` goes on where the last one ended, as that of `Walkers`.

    The noise is drawn by devinterp in torch's default type, a tensor at a time, so it is not the noise of `Walkers`,
    though it too depends on nothing but (seed, training step, chain). A chain that leaves the numbers goes on as NaN.
    """

    def __init__(
        self,
        posterior: Posterior,
        rows: Tensor,
        keys: Sequence[tuple[int, int]],
        plan: Plan,
        *,
        keep: Callable[[], Watch | None] = lambda: None,
    ) -> None:
        """The arguments are those of `Walkers`."""
        if posterior.entries:
            raise DeviError(
                f"--restrict '{posterior.restriction}': the devinterp sampler moves whole parameters, not some"
                f" entries of {', '.join(posterior.entries)}; take --sampler sgld."
            )
        self.parts = []
        for replica, (row, key) in enumerate(zip(rows.tolist(), keys, strict=True)):
            own = plan._replace(step_size=plan.step_size[replica], localization=plan.localization[replica])
            self.parts.append(_Chain(posterior, row, key, own, keep()))

    def advance(self, draws: int, progress: Callable[[float], None] | None = None) -> Walk:
        """So many draws more, after burn-in the first time; everything since the start."""
        parts = []
        for number, chain in enumerate(self.parts):
            parts.append(chain.advance(draws))
            if progress is not None:
                progress((number + 1) / len(self.parts))
        return Walk(*(torch.stack(pieces) for pieces in zip(*parts, strict=True)))


class _Chain:
    """One replica, an ordinary module with devinterp's optimizer, and what it has left behind."""

    def __init__(self, posterior: Posterior, row: int, key: tuple[int, int], plan: Plan, kept: Watch | None) -> None:
        self.posterior, self.plan, self.kept = posterior, plan, kept
        self.fixed = posterior.fixed_at(torch.tensor([row], device=posterior.device))
        self.center = posterior.centers[row]  # (parameter,)
        self.model = _model_at(posterior, row)
        self.sampled = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        for parameter in self.sampled:  # devinterp's step leaves one without a gradient where it is
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer = _optimizer(self.sampled, plan)
        self.noise = torch.Generator(posterior.device).manual_seed(stream(plan.seed, *key))
        self.batches = _batches(posterior, row, plan)
        self.sizes, self.groups = posterior.sizes, groups_of(posterior)
        self.gradients = 0
        self.start: Tensor | None = None  # L(w*) on all examples, by the same operations as along the chain
        self.forget()

    def forget(self) -> None:
        self.excess: list[Tensor] = []
        self.visits: list[Tensor] = []
        self.by_tensor = torch.zeros(len(self.sizes), dtype=torch.float64, device=self.center.device)
        if self.kept is not None:
            self.kept.forget()

    def advance(self, draws: int) -> Walk:
        """The replica's part of the record, which has no replica axis."""
        for _ in range(draws + (self.plan.burn_in if self.start is None else 0)):
            self._step()
        loss_force, distance, push = torch.stack(self.visits, dim=1)  # each (visit, group)
        return Walk(
            torch.stack(self.excess),
            loss_force,
            distance,
            torch.stack([part.sum(dim=1) for part in (push, loss_force, distance)], dim=1),
            self.by_tensor / len(self.visits),
            step_size=self.plan.step_size[0].double(),
            acceptance=torch.ones_like(self.by_tensor[0]),
        )

    def _step(self) -> None:
        """Loss and gradient where the chain stands, first at w* itself; then devinterp's step."""
        data, base = next(self.batches)
        self.optimizer.zero_grad(set_to_none=False)
        loss = self.posterior.task.loss(self.model(data.inputs), data.targets).mean(dtype=torch.float64)
        if loss.requires_grad:  # the parameters that are sampled may have no say in it
            loss.backward()
        self.gradients += 1
        if self.start is None:
            self.start = loss.detach()
        if self.gradients > self.plan.burn_in:
            self._record(loss.detach() - (self.start if base is None else base))
        self.optimizer.step(noise_generator=self.noise)

    def _record(self, excess: Tensor) -> None:
        position = torch.cat([parameter.detach().flatten() for parameter in self.sampled])
        if self.kept is not None:
            self.kept.visit(len(self.excess), self.posterior, position[None], self.fixed)
        if len(self.excess) % VISIT_EVERY == 0:
            gradient = torch.cat([parameter.grad.flatten() for parameter in self.sampled if parameter.grad is not None])
            offset = position - self.center
            products = torch.stack([offset * gradient, offset.square(), gradient.square()])
            self.by_tensor += sums(products[:1], self.sizes)[0]
            self.visits.append(sums(products, self.groups))  # (3, group)
        self.excess.append(excess)


def _model_at(posterior: Posterior, row: int) -> nn.Module:
    """A copy of the model with the parameters and buffers of one checkpoint."""
    model = copy.deepcopy(posterior.model)
    centers = posterior.centers[row].split(posterior.sizes)
    values = {name: value[row] for name, value in posterior.fixed.items()}
    values |= {
        name: center.view(shape) for name, center, shape in zip(posterior.names, centers, posterior.shapes, strict=True)
    }
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)
    return model


def _optimizer(sampled: list[nn.Parameter], plan: Plan) -> SGMCMC:
    """devinterp's SGLD around where the parameters are now."""
    from devinterp.optim import SGMCMC

    with warnings.catch_warnings():
        # nβ = 1 is then what the user asked for; devinterp takes it for a default that was not replaced.
        warnings.filterwarnings("ignore", message="nbeta set to 1", category=UserWarning)
        return SGMCMC.sgld(
            sampled, lr=float(plan.step_size), nbeta=float(plan.n_beta), localization=float(plan.localization)
        )


def _batches(posterior: Posterior, row: int, plan: Plan) -> Iterator[tuple[Batch, Tensor | None]]:
    """The examples of each step, those of `Walkers`, and their mean loss at w*; None for all examples."""
    if plan.batch_size >= posterior.examples:
        while True:
            yield posterior.data, None
    generator = torch.Generator().manual_seed(stream(plan.seed, -1, -1))
    while True:
        index = torch.randperm(posterior.examples, generator=generator)[: plan.batch_size].to(posterior.device)
        yield posterior.minibatch(index), posterior.base_losses[row, index].mean(dtype=torch.float64)
