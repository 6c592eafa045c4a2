"""The reference walk: the same chains through devinterp's own SGMCMC optimizer, one replica after another.

    w ← w − (ε/2)·( nβ·∇L_B(w) + γ·(w − w*) ) + √ε·N(0, I)      by `devinterp.optim.SGMCMC.sgld`

Nothing of `walk` is used but its minibatches and its record: the model is an ordinary module, its gradient one ordinary
backward pass, the step and the noise devinterp's. Given the same noise the two agree to rounding, and without it within
their errors, so a disagreement is a bug in one of them. It costs what one module and one backward pass per step cost.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from devi.sampling.posterior import Posterior
from devi.sampling.walk import VIRIAL_EVERY, Walk, _stream
from devi.task import Batch

if TYPE_CHECKING:
    from devinterp.optim import SGMCMC


def devinterp_walk(
    posterior: Posterior,
    rows: Tensor,
    keys: Sequence[tuple[int, int]],
    *,
    step_size: Tensor,
    n_beta: float,
    localization: Tensor,
    burn_in: int,
    draws: int,
    batch_size: int,
    seed: int,
    progress: Callable[[float], None] | None = None,
) -> Walk:
    """`burn_in + draws` steps of every replica, with the arguments and the record of `devi.sampling.walk.walk`.

    rows          (replica,) checkpoint of each replica, as a row of `posterior.centers`
    keys          (training step, chain) of each replica: with `seed`, all that its noise depends on
    step_size     (replica, 1), localization likewise

    The noise is drawn by devinterp in torch's default type, a tensor at a time, so it is not the noise of `walk`.
    A chain that leaves the numbers goes on as NaN. Source of the step: devinterp 2.0.1, optim/sgmcmc.py, `SGMCMC.step`.
    """
    model = copy.deepcopy(posterior.model)
    steps, parts = burn_in + draws, []
    for replica, (row, key) in enumerate(zip(rows.tolist(), keys, strict=True)):

        def report(step: int, before: int = replica * steps) -> None:
            if progress is not None and step % 16 == 0:
                progress((before + step) / (steps * len(rows)))

        _move_to_checkpoint(model, posterior, row)
        optimizer = _optimizer(
            model, step_size=float(step_size[replica]), n_beta=n_beta, localization=float(localization[replica])
        )
        noise = torch.Generator(posterior.device).manual_seed(_stream(seed, *key))
        minibatches = _minibatches(posterior, row, batch_size, seed)
        parts.append(_chain(posterior, row, model, optimizer, noise, minibatches, burn_in, draws, report))
    if progress is not None:
        progress(1.0)
    return Walk(*(torch.stack(pieces) for pieces in zip(*parts, strict=True)))


def _chain(
    posterior: Posterior,
    row: int,
    model: nn.Module,
    optimizer: SGMCMC,
    noise: torch.Generator,
    minibatches: Iterator[tuple[Batch, Tensor | None]],
    burn_in: int,
    draws: int,
    report: Callable[[int], None],
) -> Walk:
    """One replica's part of the record: excess (draw,), loss_force (parameter tensor,), distance (), force_force ()."""
    sampled = [parameter for parameter in model.parameters() if parameter.requires_grad]
    start = None
    excess = torch.empty(draws, dtype=torch.float64, device=posterior.device)
    loss_force = torch.zeros(len(sampled), dtype=torch.float64, device=posterior.device)
    distance = torch.zeros((), dtype=torch.float64, device=posterior.device)
    force_force = torch.zeros_like(distance)
    for step in range(burn_in + draws):
        data, base = next(minibatches)
        optimizer.zero_grad()
        loss = posterior.task.loss(model(data.inputs), data.targets).mean(dtype=torch.float64)
        loss.backward()
        if start is None:
            start = loss.detach()  # at w*, by the same operations as along the chain
        draw = step - burn_in
        if draw >= 0:
            excess[draw] = loss.detach() - (start if base is None else base)
            if draw % VIRIAL_EVERY == 0:
                center = posterior.centers[row].split(posterior.sizes)
                for place, (parameter, middle) in enumerate(zip(sampled, center, strict=True)):
                    gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                    offset = parameter.detach() - middle.view_as(parameter)
                    loss_force[place] += (offset * gradient).sum()
                    distance += offset.square().sum()
                    force_force += gradient.square().sum()
        optimizer.step(noise_generator=noise)
        report(step)
    visits = -(-draws // VIRIAL_EVERY)
    return Walk(excess, loss_force / visits, distance / visits, force_force / visits)


def _optimizer(model: nn.Module, *, step_size: float, n_beta: float, localization: float) -> SGMCMC:
    """devinterp's SGLD around where the model stands now, over the parameters that require gradients."""
    from devinterp.optim import SGMCMC

    with warnings.catch_warnings():
        # nβ = 1 is then what the user asked for; devinterp's is a default that was not replaced.
        warnings.filterwarnings("ignore", message="nbeta set to 1", category=UserWarning)
        return SGMCMC.sgld(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            lr=step_size,
            nbeta=n_beta,
            localization=localization,
        )


def _move_to_checkpoint(model: nn.Module, posterior: Posterior, row: int) -> None:
    """Give the model the parameters and buffers of one checkpoint."""
    centers = [
        center.view(shape)
        for center, shape in zip(posterior.centers[row].split(posterior.sizes), posterior.shapes, strict=True)
    ]
    values = {name: value[row] for name, value in posterior.fixed.items()}
    values |= dict(zip(posterior.names, centers, strict=True))
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)


def _minibatches(posterior: Posterior, row: int, batch_size: int, seed: int) -> Iterator[tuple[Batch, Tensor | None]]:
    """The examples of each step, those of `walk`, and their mean loss at w*; None for all examples."""
    if batch_size >= posterior.examples:
        while True:
            yield posterior.data, None
    generator = torch.Generator().manual_seed(_stream(seed, -1, -1))
    while True:
        index = torch.randperm(posterior.examples, generator=generator)[:batch_size].to(posterior.device)
        yield posterior.minibatch(index), posterior.base_losses[row, index].mean(dtype=torch.float64)
