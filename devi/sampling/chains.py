"""Chains: draws from the localized posterior at every checkpoint of a run, as an xarray.Dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from devi.sampling.calibration import Settings, calibrate
from devi.sampling.kernels import Kernel, kernel_named
from devi.sampling.posterior import Posterior
from devi.sampling.walk import measured_virial, step_bias, walk

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run

SOURCE = "Lau et al. 2023, arXiv:2308.12108"


def sample(
    run: Run,
    kernel: str | Kernel = "sgld",
    *,
    chains: int = 4,
    draws: int = 200,
    burn_in: int | None = None,
    step_size: float | None = None,
    n_beta: float | None = None,
    localization: float | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    memory_bytes: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """Losses along `chains` chains of `draws` draws at every checkpoint; what is None is chosen by `calibrate`.

    loss                  (step, chain, draw)  loss on all training examples, or unbiased from a minibatch:
                                               L_B(w) − L_B(w*) + L_n(w*); burn-in already dropped
    base_loss             (step,)              L_n(w*), in float64
    virial_loss           (step, chain)        nβ·E[(w − w*)·∇L]/d; with virial_localization it adds up to V
    virial_localization   (step, chain)        γ·E‖w − w*‖²/d
    virial_by_parameter   (step, parameter)    part of virial_loss from each parameter tensor
    step_bias             (step, chain)        what the finite step adds to nβ·E[L − L(w*)], see `step_bias`; sgld only

    Attributes: every setting used. batch_size 0 means all examples. `memory_bytes` limits what one gradient keeps.
    """
    settings = calibrate(
        run,
        sampler=kernel,
        chains=chains,
        draws=draws,
        burn_in=burn_in,
        step_size=step_size,
        n_beta=n_beta,
        localization=localization,
        batch_size=batch_size,
        seed=seed,
        device=device,
        dtype=dtype,
    )
    posterior = Posterior(run, device=device, dtype=dtype)
    return sample_posterior(
        posterior,
        run.steps,
        settings,
        kernel=kernel_named(kernel),
        seed=seed,
        memory_bytes=memory_bytes,
        progress=progress,
    )


def sample_posterior(
    posterior: Posterior,
    training_steps: np.ndarray,
    settings: Settings,
    *,
    kernel: Kernel,
    seed: int,
    memory_bytes: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """`sample` with every setting decided."""
    checkpoints, chains = len(posterior.centers), settings.chains
    batch_size = min(settings.batch_size or posterior.examples, posterior.examples)
    rows = torch.arange(checkpoints, device=posterior.device).repeat_interleave(chains)
    keys = [(int(step), chain) for step in training_steps for chain in range(chains)]

    def everywhere(value: float) -> Tensor:
        return torch.full((len(rows), 1), value, dtype=posterior.dtype, device=posterior.device)

    one = walk(
        posterior,
        kernel,
        rows,
        keys,
        step_size=everywhere(settings.step_size),
        n_beta=settings.n_beta,
        localization=everywhere(settings.localization),
        burn_in=settings.burn_in,
        draws=settings.draws,
        batch_size=batch_size,
        seed=seed,
        memory_bytes=memory_bytes,
        progress=progress,
    )
    pull = torch.full_like(one.distance, settings.localization)
    size = torch.full_like(one.distance, settings.step_size)
    dimension = posterior.dimension
    base = posterior.base_loss.cpu().numpy()
    excess = one.excess.view(checkpoints, chains, -1).cpu().numpy()
    localization = settings.localization * one.distance / dimension
    loss_part = measured_virial(one, settings.n_beta, 0 * pull, dimension)
    bias = step_bias(one, settings.n_beta, pull, size) if kernel.name == "sgld" else torch.zeros_like(pull)
    by_parameter = (settings.n_beta * one.loss_force / dimension).view(checkpoints, chains, -1).mean(dim=1)

    def per_chain(values: Tensor) -> np.ndarray:
        return values.view(checkpoints, chains).cpu().numpy()

    units = posterior.task.loss_units
    return xr.Dataset(
        {
            "loss": (("step", "chain", "draw"), base[:, None, None] + excess, _labels(units, "loss along the chains")),
            "base_loss": (("step",), base, _labels(units, "loss at the checkpoint, in float64")),
            "virial_loss": (("step", "chain"), per_chain(loss_part), _labels("1", "virial, loss part")),
            "virial_localization": (
                ("step", "chain"),
                per_chain(localization),
                _labels("1", "virial, localization part"),
            ),
            "virial_by_parameter": (
                ("step", "parameter"),
                by_parameter.cpu().numpy(),
                _labels("1", "virial, loss part, by parameter tensor"),
            ),
            "step_bias": (("step", "chain"), per_chain(bias), _labels("1", "share of the finite step size")),
        },
        coords={"step": np.asarray(training_steps), "parameter": posterior.names},
        attrs={
            "sampler": settings.sampler,
            "step_size": settings.step_size,
            "n_beta": settings.n_beta,
            "localization": settings.localization,
            "burn_in": settings.burn_in,
            "chains": chains,
            "draws": settings.draws,
            "batch_size": batch_size,
            "seed": seed,
            "device": str(posterior.device),
            "dtype": str(posterior.dtype).removeprefix("torch."),
            "examples": posterior.examples,
            "dimension": dimension,
            "batched": int(posterior.batched),
            "reasons": json.dumps(settings.reasons, ensure_ascii=False),
            "tried": json.dumps(settings.tried),
        },
    )


def _labels(units: str, long_name: str) -> dict[str, str]:
    return {"units": units, "long_name": long_name, "source": SOURCE}
