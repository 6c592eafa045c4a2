"""Chains: draws from the localized posterior at every checkpoint of a run, as an xarray.Dataset."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from devi.errors import Notice
from devi.sampling.devinterp_walk import DevinterpWalkers
from devi.sampling.diagnostics import VIRIAL_TOLERANCE
from devi.sampling.estimate import Estimate, estimate
from devi.sampling.example_losses import ExampleLosses, check_size
from devi.sampling.kernels import Kernel
from devi.sampling.posterior import Posterior
from devi.sampling.record import Plan, Walk, groups_of, visit_every
from devi.sampling.samplers import prepared
from devi.sampling.settings import Settings
from devi.sampling.stein import force_offset, heat, step_bias
from devi.sampling.walk import Walkers
from devi.sampling.watch import Watch, with_watched

SOURCE = "Lau et al. 2023, arXiv:2308.12108"
Progress = Callable[[float], None] | None
RHAT_GOAL = 1.05
ENOUGH = 0.9  # of the checkpoints


@dataclass(frozen=True)
class Goal:
    """The standard error that is small enough: a share of the estimate or an absolute one, whichever is larger."""

    relative: float
    absolute: float = 0.0

    def __call__(self, draws: xr.Dataset, found: Estimate) -> bool:
        """Whether it is reached by chains that agree, at nearly all checkpoints."""
        small = found.error <= np.fmax(self.relative * np.abs(found.llc), self.absolute)
        # With the virial too far off to pass and not known well enough to fail, more draws will tell.
        agree = found.is_balanced & (found.virial_off <= VIRIAL_TOLERANCE) & ~(found.rhat > RHAT_GOAL)
        return bool(((small & agree) | np.isnan(found.llc)).mean() >= ENOUGH)


GOAL = Goal(0.02, 0.5)


def sample_posterior(
    posterior: Posterior,
    training_steps: np.ndarray,
    settings: Settings,
    *,
    kernel: Kernel,
    seed: int,
    memory_bytes: int | None = None,
    progress: Progress = None,
    observe: Sequence[str] = (),
    keep_losses: int = 0,
    compile: bool = False,
    enough: Callable[[xr.Dataset, Estimate], bool] = GOAL,
) -> xr.Dataset:
    """Draws with every setting decided, as `sample` gives them: they double until they are enough or `most_draws`."""
    checkpoints, chains = len(posterior.centers), settings.chains
    rows = torch.arange(checkpoints, device=posterior.device).repeat_interleave(chains)
    keys = [(int(step), chain) for step in training_steps for chain in range(chains)]

    def everywhere(value: float) -> Tensor:
        return torch.full((len(rows), 1), value, dtype=posterior.dtype, device=posterior.device)

    plan = Plan(
        everywhere(settings.step_size),
        settings.n_beta,
        everywhere(settings.localization),
        settings.burn_in,
        min(settings.batch_size or posterior.examples, posterior.examples),
        seed,
    )
    check_size(checkpoints=checkpoints, chains=chains, most=keep_losses, examples=posterior.examples)

    observed = {name: posterior.data_set(name) for name in observe}

    def keep() -> Watch | None:
        if not (keep_losses or observed):
            return None
        examples = ExampleLosses(posterior.data, keep_losses, plan.batch_size) if keep_losses else None
        return Watch(examples=examples, observed=observed, at_once=plan.batch_size, visit_every=visit_every(kernel))

    walkers: Walkers | DevinterpWalkers
    if kernel.name == "devinterp":
        if compile:
            warnings.warn("devinterp takes its own gradients; it samples as without --compile.", Notice, stacklevel=2)
        walkers = DevinterpWalkers(posterior, rows, keys, plan, keep=keep)
    else:
        own = prepared(kernel, settings)
        walkers = Walkers(posterior, own, rows, keys, plan, memory_bytes=memory_bytes, keep=keep, compile=compile)
    taken, more = 0, settings.draws
    while True:
        walk = walkers.advance(more, progress)
        taken += more
        draws = _dataset(posterior, training_steps, settings, kernel, plan, walk, walkers.gradients)
        more = min(taken, settings.most_draws - taken)
        found = estimate(draws)
        if more <= 0 or enough(draws, found):
            return with_watched(draws, walkers.kept(), posterior, observed)
        if not found.is_balanced.mean() >= ENOUGH:
            walkers.forget()


def _dataset(
    posterior: Posterior,
    training_steps: np.ndarray,
    settings: Settings,
    kernel: Kernel,
    plan: Plan,
    walk: Walk,
    gradients: int,
) -> xr.Dataset:
    checkpoints, n_beta, dimension = len(posterior.centers), settings.n_beta, posterior.dimension
    pull = plan.localization[:, 0].double()
    sizes = groups_of(posterior)
    base = posterior.base_loss.cpu().numpy()

    def by_chain(values: Tensor) -> np.ndarray:
        return values.reshape(checkpoints, settings.chains, *values.shape[1:]).cpu().numpy()

    found = force_offset(walk, n_beta, pull) - torch.tensor(sizes, dtype=torch.float64, device=pull.device)
    nothing = torch.zeros(found.shape[:2])
    bias, heated = nothing, nothing
    if kernel.has_step_bias:
        bias, heated = step_bias(walk, n_beta, pull), heat(walk, n_beta, pull, dimension)
    total = walk.distance.sum(dim=2).mean(dim=1)
    chain, visit = ("step", "chain"), ("step", "chain", "visit")
    units = posterior.task.loss_units
    variables = {
        "loss": ((*chain, "draw"), base[:, None, None] + by_chain(walk.excess), units, "loss along the chains"),
        "base_loss": (("step",), base, units, "loss at the checkpoint, in float64"),
        "virial_loss": (chain, by_chain(n_beta * walk.by_tensor.sum(dim=1) / dimension), "1", "virial, loss part"),
        "virial_localization": (chain, by_chain(pull * total / dimension), "1", "virial, localization part"),
        "virial_by_parameter": (
            ("step", "parameter"),
            by_chain(n_beta * walk.by_tensor / dimension).mean(axis=1),
            "1",
            "virial, loss part, by parameter tensor",
        ),
        "stein": ((*visit, "group"), by_chain(found), "1", "numbers of mean 0 in equilibrium"),
        "heat": (visit, by_chain(heated), "1", "share of the finite step size in the virial"),
        "step_bias": (visit, by_chain(bias), "1", "share of the finite step size"),
        "acceptance": (chain, by_chain(walk.acceptance), "1", "share of the proposals that were accepted"),
        "step_size": (chain, by_chain(walk.step_size), "1", "step size after burn-in"),
    }
    count = walk.excess.shape[1]
    return xr.Dataset(
        {
            name: (dims, values, {"units": unit, "long_name": words, "source": SOURCE})
            for name, (dims, values, unit, words) in variables.items()
        },
        coords={
            "step": np.asarray(training_steps),
            "draw": np.arange(count),
            "visit": np.arange(0, count, visit_every(kernel)),
            "parameter": posterior.names,
        },
        attrs={
            "sampler": settings.sampler,
            "step_size": settings.step_size,
            "n_beta": n_beta,
            "localization": settings.localization,
            "burn_in": settings.burn_in,
            "chains": settings.chains,
            "draws": count,
            "batch_size": plan.batch_size,
            "seed": plan.seed,
            "device": str(posterior.device),
            "dtype": str(posterior.dtype).removeprefix("torch."),
            "examples": posterior.examples,
            "sampled_on": posterior.sample_on,
            "restriction": posterior.restriction,
            "dimension": dimension,
            "batched": int(posterior.batched),
            "is_adjusted": int(kernel.is_adjusted),
            # Not of psgld, which lacks Γ, nor of a kernel whose step has no formula: their virial is off by more.
            "has_exact_heat": int(kernel.is_adjusted or (kernel.has_step_bias and kernel.scale is None)),
            "gradients": gradients,
            "reasons": json.dumps(settings.reasons, ensure_ascii=False),
            "tried": json.dumps(settings.tried),
        },
    )
