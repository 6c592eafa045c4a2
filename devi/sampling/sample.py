"""Sample: draws at every checkpoint of a run, with every setting that is not given chosen first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import xarray as xr

from devi.checkpoints.reader import Run, check_run
from devi.sampling.calibration import calibrate
from devi.sampling.chains import Progress, sample_posterior
from devi.sampling.kernels import Kernel
from devi.sampling.posterior import Posterior
from devi.sampling.samplers import kernel_named


def sample(
    run: Run,
    kernel: str | Kernel = "sgld",
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    memory_bytes: int | None = None,
    progress: Progress = None,
    restriction: str = "",
    sample_on: str = "train",
    observe: str | Sequence[str] = (),
    keep_losses: int = 0,
    compile: bool = False,
    **given: Any,
) -> xr.Dataset:
    """Losses along the chains at every checkpoint; settings that are not given are chosen by `calibrate`.

    given        chains, draws, burn_in, step_size, n_beta, localization, batch_size: see `devi.sampling.settings`
    restriction  the parameters that move, the others stay at w*: see `devi.sampling.restriction`
    sample_on    the data set whose loss is sampled with; observe: those whose losses are only looked at, see
                 `devi.sampling.data_sets`
    compile      the gradient of a model that does not write it out: see `devi.sampling.compiling`

    loss                  (step, chain, draw)  loss on all training examples, or unbiased from a minibatch:
                                               L_B(w) − L_B(w*) + L_n(w*); burn-in already dropped
    base_loss             (step,)              L_n(w*), in float64
    virial_loss           (step, chain)        nβ·E[(w − w*)·∇L]/d; with virial_localization it adds up to V
    virial_localization   (step, chain)        γ·E‖w − w*‖²/d
    virial_by_parameter   (step, parameter)    part of virial_loss from each parameter tensor
    stein                 (step, chain, visit, group)  (w − w*)·∇U less the number of parameters, group by group
    heat                  (step, chain, visit) what the finite step adds to V, see `devi.sampling.stein`; 0 of hmc and
                                               mala, which correct for it, and of a kernel of one's own without formulas
    step_bias             (step, chain, visit) what it adds to nβ·(L − L(w*)) of a quadratic, likewise
    acceptance            (step, chain)        of the proposals after burn-in; 1 for sgld and psgld
    step_size             (step, chain)        after burn-in: hmc and mala adapt it to each chain

    example_loss          (step, chain, kept_draw, example)  float32, of every training example at about `keep_losses`
                                               draws; for influences and susceptibilities, see `ExampleLosses`
    observed_loss         (step, chain, visit, observed)  mean loss on the observed data; observed_base (step, observed)

    Attributes: every setting used, and what it cost. `memory_bytes` limits what one gradient keeps.
    """
    check_run(run)
    observe = (observe,) if isinstance(observe, str) else observe  # one text is one name
    where: dict[str, Any] = {"device": device, "dtype": dtype, "restriction": restriction, "sample_on": sample_on}
    settings = calibrate(run, sampler=kernel, seed=seed, **where, **given)
    posterior = Posterior(run, **where)
    return sample_posterior(
        posterior,
        run.steps,
        settings,
        kernel=kernel_named(kernel),
        seed=seed,
        memory_bytes=memory_bytes,
        progress=progress,
        observe=observe,
        keep_losses=keep_losses,
        compile=compile,
    )
