"""Local learning coefficient: how fast the volume of nearly as good parameters grows around each checkpoint.

λ̂ = nβ·(E_p[L_n(w)] − L_n(w*)),   p(w) ∝ exp(−nβ·L_n(w) − (γ/2)·‖w − w*‖²)
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
import xarray as xr
from pydantic import Field

from devi.metrics.metric import Metric, labels

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run
    from devi.sampling.calibration import Settings

Progress = Callable[[float], None] | None

# The settings that `calibrate` fills in where they are None.
CALIBRATED = ("chains", "draws", "burn_in", "step_size", "n_beta", "localization", "batch_size")


@dataclass(frozen=True)
class LearningCoefficient(Metric):
    """llc ± llc_se of every checkpoint, from `sample`; settings that are None are chosen from the run by `calibrate`.

    llc           (step,)              λ̂ less what the finite step size adds: the raw λ̂ is llc + llc_step_bias
    llc_se        (step,)              error of llc, its correction included, see `standard_error` of the diagnostics
    llc_virial    (step,)              1 in equilibrium; the sum of llc_virial_loss and llc_virial_localization (step,)
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
    burn_in: Annotated[int | None, Field(ge=0)] = None
    step_size: Annotated[float | None, Field(ge=0)] = None
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

    name: ClassVar[str] = "llc"
    units: ClassVar[str] = "1"
    long_name: ClassVar[str] = "local learning coefficient, corrected for the step size"
    source: ClassVar[str] = "Lau et al. 2023, arXiv:2308.12108"
    progresses: ClassVar[bool] = True
    gives: ClassVar[tuple[str, ...]] = (
        "llc",
        "llc_se",
        "llc_virial",
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
        settings = self.settings(run, progress)
        chosen = {name: getattr(settings, name) for name in CALIBRATED}
        return dataclasses.replace(self, **chosen, moves=settings.moves, reasons=settings.reasons)

    def settings(self, run: Run, progress: Progress = None) -> Settings:
        """The settings for `run`, with the reason for each."""
        from devi.sampling.calibration import calibrate

        given: dict[str, Any] = {name: getattr(self, name) for name in CALIBRATED}
        return calibrate(run, sampler=self.sampler, seed=self.seed, device=self.device, progress=progress, **given)

    def over(self, run: Run, progress: Progress = None) -> xr.Dataset:
        from devi.sampling.calibration import Settings
        from devi.sampling.chains import sample_posterior
        from devi.sampling.diagnostics import descended_loss
        from devi.sampling.kernels import kernel_named
        from devi.sampling.posterior import Posterior
        from devi.sampling.resolution import unresolved

        whole = getattr(run, "whole", run)
        ready = self.resolved(whole)
        settings = Settings(
            sampler=ready.sampler,
            seconds_per_step=float("nan"),
            reasons=ready.reasons,
            moves=ready.moves,
            **{name: getattr(ready, name) for name in CALIBRATED},
        )
        posterior = Posterior(run, device=self.device)
        draws = sample_posterior(
            posterior, run.steps, settings, kernel=kernel_named(self.sampler), seed=self.seed, progress=progress
        )
        descended = descended_loss(posterior, step=0.5 * settings.step_size * settings.n_beta)
        names = list(run.parameters(slice(0, 1)))
        return learning_coefficient(
            draws,
            descended=descended,
            trace_draws=self.trace_draws,
            parameters=names,
            moving=unresolved(ready.moves, whole.steps, run.steps),
        )


def learning_coefficient(
    draws: xr.Dataset,
    *,
    descended: np.ndarray | None = None,
    trace_draws: int | None = None,
    parameters: Sequence[str] | None = None,
    moving: np.ndarray | None = None,
) -> xr.Dataset:
    """Local learning coefficient, its error and its health at each checkpoint.

        llc(t) = n_beta · (mean of loss(t, c, d) over chains c, draws d − base_loss(t)) − mean of step_bias(t, c) over c

    draws      from `devi.sample`: loss (step, chain, draw), base_loss (step,), both on the training set
    descended  (step,) loss after a descent from the checkpoint; without it llc_headroom is NaN
    trace_draws  draws of each chain that llc_trace keeps, evenly spaced; None keeps all. The estimate uses all of them.
    parameters  all names of the run, in its order, for llc_virial_by_parameter; None: those that were sampled
    moving     (step,) whether the estimate moves with the localization or nβ; None: not looked at
    returns    the variables that `LearningCoefficient` lists; no unit

    Source: Lau et al. 2023, arXiv:2308.12108, definition of the estimator.
    """
    from devi.sampling.diagnostics import INFORMATION, flags, non_finite, rhat_and_ess, standard_error

    n_beta = draws.attrs["n_beta"]
    base = draws["base_loss"].values
    trace = n_beta * (draws["loss"].values - base[:, None, None])  # (step, chain, draw)
    trace[~np.isfinite(trace)] = np.nan  # an infinity would only become one on the way
    rhat, ess = rhat_and_ess(trace)
    bias = draws["step_bias"].values  # (step, chain)
    # The correction is an estimate too: it can add to what the chains differ by as well as take from it.
    error = np.fmax(standard_error(trace, ess), standard_error(trace - bias[:, :, None], ess))
    bias = bias.mean(axis=1)
    loss_part, pull_part = (draws[name].values.mean(axis=1) for name in ("virial_loss", "virial_localization"))
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
            "llc": along(trace.mean(axis=(1, 2)) - bias, LearningCoefficient.long_name),
            "llc_se": along(error, "standard error of the local learning coefficient"),
            "llc_virial": along(loss_part + pull_part, "virial (1 in equilibrium)"),
            # Parts of the virial above: searching each would multiply the chances of a false alarm.
            "llc_virial_loss": along(loss_part, "virial, loss part", detect=False),
            "llc_virial_localization": along(pull_part, "virial, localization part", detect=False),
            "llc_virial_by_parameter": (
                ("step", "parameter"),
                by_parameter,
                labels("1", "virial, loss part, by parameter", source, detect=False),
            ),
            "llc_rhat": along(rhat, "R-hat of the loss along the chains"),
            "llc_ess": along(ess, "effective draws of all chains"),
            "llc_headroom": along(headroom, "n_beta × loss to be gained by descending from the checkpoint"),
            "llc_step_bias": along(bias, "subtracted from the estimate: what the finite step size adds"),
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
