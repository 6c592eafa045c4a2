"""Local learning coefficient: how fast the volume of nearly as good parameters grows around each checkpoint.

λ̂ = nβ·(E_p[L_n(w)] − L_n(w*)),   p(w) ∝ exp(−nβ·L_n(w) − (γ/2)·‖w − w*‖²)
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
import xarray as xr
from pydantic import Field

from devi.metrics.metric import Metric, labels
from devi.sampling.settings import CHOSEN, GIVEN, LEAPFROG_STEPS

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run
    from devi.sampling.calibration import Settings

Progress = Callable[[float], None] | None

# The settings that `calibrate` fills in where they are None.
CALIBRATED = (*CHOSEN, "most_draws", "leapfrog_steps")
FOUND = ("reasons", "moves", "drift")  # what it tells besides


@dataclass(frozen=True)
class LearningCoefficient(Metric):
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
    llc_flags     (step,)              words of `FLAG_MEANINGS`, comma-separated; empty when healthy

    Source: Lau et al. 2023, arXiv:2308.12108, definition of the estimator.
    """

    sampler: str = "sgld"
    chains: Annotated[int | None, Field(ge=1)] = None
    draws: Annotated[int | None, Field(ge=1)] = None
    most_draws: Annotated[int | None, Field(ge=1)] = None
    burn_in: Annotated[int | None, Field(ge=0)] = None
    step_size: Annotated[float | None, Field(ge=0)] = None
    leapfrog_steps: Annotated[int | None, Field(ge=1)] = None
    n_beta: Annotated[float | None, Field(gt=0)] = None
    localization: Annotated[float | None, Field(ge=0)] = None
    batch_size: Annotated[int | None, Field(ge=0)] = None
    seed: int = 0
    device: str = "cpu"
    trace_draws: Annotated[int, Field(ge=1)] = (
        250  # of each chain kept in llc_trace, evenly spaced; all count otherwise
    )
    # Filled in with the settings by `resolved`; hash=False because a dict has none.
    reasons: dict[str, str] = dataclasses.field(default_factory=dict, hash=False)  # setting -> why this value
    moves: dict[str, float] = dataclasses.field(default_factory=dict, hash=False)  # see `devi.sampling.resolution`
    drift: dict[str, float] = dataclasses.field(default_factory=dict, hash=False)  # see `devi.sampling.climb`

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
        "llc_trace",
        "llc_flags",
    )

    def resolved(self, run: Run, progress: Progress = None) -> Self:
        if all(getattr(self, name) is not None for name in CALIBRATED):
            return self
        if all(getattr(self, name) is not None for name in CHOSEN):
            reasons = self.reasons or dict.fromkeys(CHOSEN, GIVEN)
            return dataclasses.replace(
                self,
                most_draws=self.most_draws or self.draws,
                leapfrog_steps=self.leapfrog_steps or LEAPFROG_STEPS,
                reasons=reasons,
            )
        settings = self.settings(run, progress)
        chosen = {name: getattr(settings, name) for name in CALIBRATED}
        return dataclasses.replace(self, **chosen, **{name: getattr(settings, name) for name in FOUND})

    def settings(self, run: Run, progress: Progress = None) -> Settings:
        """The settings for `run`, with the reason for each."""
        from devi.sampling.calibration import calibrate

        given: dict[str, Any] = {name: getattr(self, name) for name in CHOSEN}
        return calibrate(run, sampler=self.sampler, seed=self.seed, device=self.device, progress=progress, **given)

    def over(self, run: Run, progress: Progress = None) -> xr.Dataset:
        from devi.sampling.chains import sample_posterior
        from devi.sampling.diagnostics import descended_loss
        from devi.sampling.posterior import Posterior
        from devi.sampling.resolution import at_nearest
        from devi.sampling.samplers import kernel_named
        from devi.sampling.settings import Settings

        whole = getattr(run, "whole", run)
        ready = self.resolved(whole)
        settings = Settings(sampler=ready.sampler, **{name: getattr(ready, name) for name in (*CALIBRATED, *FOUND)})
        posterior = Posterior(run, device=self.device)
        draws = sample_posterior(
            posterior, run.steps, settings, kernel=kernel_named(self.sampler), seed=self.seed, progress=progress
        )
        # As far as the sampler is stable, or would be if it were sgld.
        kernel = kernel_named(self.sampler)
        length = 0.5 * settings.step_size * settings.n_beta if kernel.has_step_bias else 1 / settings.localization
        descended = descended_loss(posterior, step=length)
        names = list(run.parameters(slice(0, 1)))
        return learning_coefficient(
            draws,
            descended=descended,
            trace_draws=self.trace_draws,
            parameters=names,
            moving=at_nearest(ready.moves, whole.steps, run.steps) != 0,
            drift=at_nearest(ready.drift, whole.steps, run.steps),
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
    drift      (step,) share by which the estimate moved when nβ was last raised: half of it goes into the error
    returns    the variables that `LearningCoefficient` lists; no unit

    Source: Lau et al. 2023, arXiv:2308.12108, definition of the estimator.
    """
    from devi.sampling.diagnostics import INFORMATION, flags, non_finite
    from devi.sampling.estimate import estimate, finite_chains, n_beta_excess

    n_beta = draws.attrs["n_beta"]
    base = draws["base_loss"].values
    trace = n_beta_excess(draws)
    found = estimate(draws)
    # What is left to move is less than the last move, unless that counts as unresolved.
    error = np.hypot(found.error, 0.0 if drift is None else 0.5 * drift * found.llc)
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
            "llc_step_bias": along(found.bias, "subtracted from the estimate: what the finite step size adds"),
            "llc_trace": (
                ("step", "chain", "draw"),
                trace[:, :, kept].astype(np.float32),
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
