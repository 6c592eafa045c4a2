"""Local learning coefficient: how fast the volume of nearly as good parameters grows around each checkpoint.

λ̂ = nβ·(E_p[L_n(w)] − L_n(w*)),   p(w) ∝ exp(−nβ·L_n(w) − (γ/2)·‖w − w*‖²)
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import xarray as xr

from devi.errors import Notice
from devi.metrics.metric import labels
from devi.metrics.sampler_settings import CALIBRATED, Progress, SamplerSettings, part

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run
    from devi.sampling.posterior import Posterior

# Of the estimate: with 0.35 a quadratic and a regression in float32 were within 0.3%, with 3.5 they lost 60% and 7%
# (by hand).
MOST_ROUNDING = 0.5

__all__ = ["CALIBRATED", "LearningCoefficient", "learning_coefficient"]


@dataclass(frozen=True)
class LearningCoefficient(SamplerSettings):
    """llc ± llc_se of every checkpoint, from `sample`; settings that are None are chosen from the run by `calibrate`.

    llc           (step,)              λ̂ less what the finite step size adds, with control variates
    llc_se        (step,)              error of llc, its corrections included, see `standard_error` of the diagnostics
    llc_raw       (step,)              λ̂ as defined below; llc_step_bias (step,) is the step size's share of it
    llc_virial    (step,)              1 in equilibrium, ± llc_virial_se (step,); the sum of two parts,
    llc_virial_loss (step,) and llc_virial_localization (step,)
    llc_virial_by_parameter (step, parameter)  part of llc_virial_loss from each parameter; NaN for a frozen one
    llc_rhat      (step,)              llc_ess likewise: convergence and effective draws of the loss trace
    llc_headroom  (step,)              nβ·(L(w*) − loss after a short descent): llc + llc_headroom is free of it
    llc_trace     (step, chain, draw)  nβ·(L(w) − L(w*)) along the chains; `trace_draws` of each, evenly spaced
    llc_gradients (step,)              gradients that sampling took, each of the loss of one chain on one batch
    llc_flags     (step,)              words of `FLAG_MEANINGS`, comma-separated; empty when healthy

    With `restrict`: restricted_llc (step, restriction), and _se, _virial, _rhat, _ess, _headroom, _gradients, _flags
    likewise. With `observe`: observed_excess, observed_excess_se (step, observed), E[L_other(w)] − L_other(w*).
    With `keep_losses`: example_loss (step, chain, kept_draw, example), at draws example_draw (step, kept_draw).

    Source: Lau et al. 2023, arXiv:2308.12108, definition of the estimator.
    """

    name: ClassVar[str] = "llc"
    units: ClassVar[str] = "1"
    long_name: ClassVar[str] = "local learning coefficient, corrected for the step size"
    source: ClassVar[str] = "Lau et al. 2023, arXiv:2308.12108"
    progresses: ClassVar[bool] = True
    gives: ClassVar[tuple[str, ...]] = (
        "llc",
        "llc_se",
        "llc_raw",
        "llc_virial",
        "llc_virial_se",
        "llc_virial_loss",
        "llc_virial_localization",
        "llc_virial_by_parameter",
        "llc_rhat",
        "llc_ess",
        "llc_headroom",
        "llc_step_bias",
        "llc_gradients",
        "llc_trace",
        "llc_flags",
    )

    def over(self, run: Run, progress: Progress = None) -> xr.Dataset:
        from devi.metrics.coefficient_parts import beside, observed_excess, stored_examples

        whole = getattr(run, "whole", run)
        ready = self.resolved(whole)
        found, draws = _sampled(ready, run, part(progress, 0, 1 + len(ready.restrict)))
        result = found.merge(observed_excess(draws)).merge(stored_examples(draws))
        restricted = []
        for place, restriction in enumerate(ready.restrict):
            one, _ = _sampled(ready, run, part(progress, place + 1, 1 + len(ready.restrict)), restriction)
            restricted.append(one)
        return beside(result, dict(zip(ready.restrict, restricted, strict=True)))


def _sampled(
    metric: LearningCoefficient, run: Run, progress: Progress, restriction: str = ""
) -> tuple[xr.Dataset, xr.Dataset]:
    """The estimate for all parameters or for a restriction, and the draws that it is from."""
    from devi.sampling.chains import sample_posterior
    from devi.sampling.diagnostics import descended_loss
    from devi.sampling.posterior import Posterior
    from devi.sampling.resolution import at_nearest
    from devi.sampling.samplers import kernel_named

    settings, all_steps = metric.settings_for(restriction), getattr(run, "whole", run).steps
    posterior, kernel = Posterior(run, **metric.where(restriction)), kernel_named(metric.sampler)
    draws = sample_posterior(
        posterior,
        run.steps,
        settings,
        kernel=kernel,
        seed=metric.seed,
        progress=progress,
        observe=() if restriction else metric.observe,
        keep_losses=0 if restriction else metric.keep_losses,
        compile=metric.compile,
    )
    # As far as the sampler is stable, or would be if it were sgld.
    length = 0.5 * settings.step_size * settings.n_beta
    if not kernel.has_step_bias:
        length = 1 / (settings.localization or settings.n_beta)
    estimate = learning_coefficient(
        draws,
        descended=descended_loss(posterior, step=length, n_beta=settings.n_beta),
        trace_draws=metric.trace_draws,
        parameters=list(run.parameters(slice(0, 1))),
        moving=at_nearest(settings.moves, all_steps, run.steps) != 0,
        drift=at_nearest(settings.drift, all_steps, run.steps),
    )
    _tell_of_rounding(posterior, settings.n_beta, estimate)
    return estimate, draws


def _tell_of_rounding(posterior: Posterior, n_beta: float, estimate: xr.Dataset) -> None:
    """A notice where losses are so large that draws differ by less than their numbers can show."""
    import torch

    from devi.sampling.diagnostics import SMALLEST_ESTIMATE

    rounding = n_beta * posterior.base_loss.abs().cpu().numpy() * torch.finfo(posterior.dtype).eps / 2
    share = rounding / np.maximum(np.abs(estimate["llc"].values), SMALLEST_ESTIMATE)
    if posterior.dtype == torch.float32 and (share > MOST_ROUNDING).any():
        worst = int(np.nanargmax(share))
        step, loss = int(estimate["step"][worst]), float(posterior.base_loss[worst])
        warnings.warn(
            f"The loss is {loss:.3g} at training step {step}: times nβ it is rounded by up to {rounding[worst]:.2g},"
            f" too much for a learning coefficient of {float(estimate['llc'][worst]):.3g}. Take --dtype float64.",
            Notice,
            stacklevel=2,
        )


def learning_coefficient(
    draws: xr.Dataset,
    *,
    descended: np.ndarray | None = None,
    trace_draws: int | None = None,
    parameters: Sequence[str] | None = None,
    moving: np.ndarray | None = None,
    drift: np.ndarray | None = None,
) -> xr.Dataset:
    """Local learning coefficient, its error and its health at each checkpoint.

        llc_raw(t) = n_beta · (mean of loss(t, c, d) over chains c, draws d − base_loss(t))

    and llc the same less the bias of a finite step, with control variates: `devi.sampling.estimate`.

    draws      from `devi.sample`, on the training set
    descended  (step,) loss after a descent from the checkpoint; without it llc_headroom is NaN
    trace_draws  draws of each chain that llc_trace keeps, evenly spaced; None keeps all. The estimate uses all of them.
    parameters  all names of the run, in its order, for llc_virial_by_parameter; None: those that were sampled
    moving     (step,) whether the estimate moves with the localization or nβ; None: not looked at
    drift      (step,) share by which the estimate moved when nβ was last raised: it goes into the error
    returns    the variables that `LearningCoefficient` lists; no unit

    Source: Lau et al. 2023, arXiv:2308.12108, definition of the estimator.
    """
    from devi.sampling.diagnostics import INFORMATION, flags, non_finite
    from devi.sampling.estimate import estimate, finite_chains, n_beta_excess

    n_beta = draws.attrs["n_beta"]
    base = draws["base_loss"].values
    trace = n_beta_excess(draws)
    found = estimate(draws)
    # What is left to move is about the last move where the estimate nears its limit as nβ^(−1/4), less where faster.
    error = np.hypot(found.error, 0.0 if drift is None else drift * found.llc)
    finite = np.where(finite_chains(draws), 1.0, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a step without a finite chain has no virial either
        loss_part, pull_part = (
            np.nanmean(draws[name].values * finite, axis=1) for name in ("virial_loss", "virial_localization")
        )
    names = list(draws["parameter"].values if parameters is None else parameters)
    by_parameter = draws["virial_by_parameter"].reindex(parameter=names).values
    headroom = np.full(len(base), np.nan) if descended is None else n_beta * (base - descended)
    source = LearningCoefficient.source

    count = trace.shape[2]
    kept = np.unique(np.linspace(0, count - 1, min(count, trace_draws or count)).round().astype(int))
    with np.errstate(over="ignore"):  # chains that diverge leave float32
        shown = trace[:, :, kept].astype(np.float32)

    def along(values: np.ndarray, long_name: str, *, detect: bool = True) -> tuple[str, np.ndarray, dict[str, Any]]:
        return "step", values, labels("1", long_name, source, detect=detect)

    result = xr.Dataset(
        {
            "llc": along(found.llc, LearningCoefficient.long_name),
            "llc_se": along(error, "standard error of the local learning coefficient"),
            "llc_raw": along(found.raw, "estimate with nothing taken off for the step size", detect=False),
            "llc_virial": along(loss_part + pull_part, "virial (1 in equilibrium)"),
            "llc_virial_se": along(found.virial_error, "standard error of the virial", detect=False),
            # Parts of the virial above: searching each would multiply the chances of a false alarm.
            "llc_virial_loss": along(loss_part, "virial, loss part", detect=False),
            "llc_virial_localization": along(pull_part, "virial, localization part", detect=False),
            "llc_virial_by_parameter": (
                ("step", "parameter"),
                by_parameter,
                labels("1", "virial, loss part, by parameter", source, detect=False),
            ),
            "llc_rhat": along(found.rhat, "R-hat of the loss along the chains"),
            "llc_ess": along(found.ess, "effective draws of all chains"),
            "llc_headroom": along(headroom, "n_beta × loss to be gained by descending from the checkpoint"),
            "llc_step_bias": along(found.bias, "what the finite step size adds to llc_raw, were the loss a quadratic"),
            "llc_gradients": along(
                np.full(len(base), draws.attrs.get("gradients", np.nan) / len(base)), "gradients taken", detect=False
            ),
            "llc_trace": (
                ("step", "chain", "draw"),
                shown,
                labels("1", "n_beta × (loss − loss at the checkpoint) along the chains", source),
            ),
        },
        coords={"step": draws["step"], "draw": ("draw", kept, {"long_name": "draw after burn-in"}), "parameter": names},
        attrs={**draws.attrs, "non_finite": json.dumps(non_finite(draws))},
    )
    result["llc_flags"] = along(
        np.asarray(flags(draws, result, unresolved=moving), dtype=str), "what is unhealthy about the estimate"
    )
    result["llc_flags"].attrs["information"] = ",".join(sorted(INFORMATION))
    return result
