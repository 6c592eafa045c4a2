"""Sweep: the estimate at a few checkpoints over step size, and over nβ and γ, to see by eye where it is flat.

    step size   ε·2^k, all else as chosen: too small has not left w* when burn-in ends, too large heats or blows up
    nβ          nβ·b^k at γ/2, γ and 2γ: an estimate that the loss alone decides is the same everywhere

For L = ½Σ c_i w_i² both are known: with a_i = nβ·c_i and h_i = a_i + γ, an ideal sampler finds ½Σ a_i/h_i, and
sgld of step ε, uncorrected, ½Σ a_i/(h_i(1 − εh_i/4)). sgld relaxes at a rate ε·h_i/2 per step, so along nβ its ε goes
as 1/nβ and its burn-in, and the batch, as nβ above the chosen; hmc and mala adapt their step to each.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import xarray as xr

from devi.sampling.chains import sample_posterior
from devi.sampling.diagnostics import SMALLEST_ESTIMATE, flags
from devi.sampling.estimate import estimate, finite_chains
from devi.sampling.kernels import Kernel
from devi.sampling.pilots import replicas_within
from devi.sampling.posterior import Posterior
from devi.sampling.samplers import kernel_named
from devi.sampling.settings import GIVEN, Settings

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run

PLACES = (1 / 3, 2 / 3, 1.0)  # of the run's checkpoints: its start is seldom what is asked about
DOUBLINGS = (-4, -3, -2, -1, 0, 1, 2, 3)  # of the step size
SHARPENINGS = (-2, -1, 0, 1, 2)
BASE, BASE_ADJUSTED = 2.0, 4.0  # each multiplies nβ by so much; hmc and mala reach farther at no cost
PULLS = (0.5, 1.0, 2.0)  # times γ
FEWEST_DRAWS, MOST_DRAWS, MOST_CHAINS = 200, 600, 4  # as many draws as steps of burn-in, within these
SMALLEST_MOVE, MOVE_ERRORS = 0.05, 2.0
# What says that an estimate is not to be read. 'rhat' is not among them: over 4 chains of so few draws it is noisy, and
# steps that are far too small show as 'ess'.
FAILURES = frozenset({"non_finite", "virial", "ess", "negative", "escape"})


class Varied(NamedTuple):
    """One setting of the sweep: what is varied in it ("step_size" or "n_beta"), and all settings."""

    what: str
    settings: Settings


def sweep(
    run: Run,
    settings: Settings,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    progress: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """The estimates at three checkpoints for every setting around the chosen ones.

    llc, llc_se    (setting, step)   as `devi.sampling.estimate` gives them;  llc_raw with nothing taken off
    llc_virial, llc_virial_se, llc_rhat, llc_ess  (setting, step)   see `LearningCoefficient`
    llc_flags      (setting, step)   words of FLAG_MEANINGS; headroom is not looked at
    is_sound       (setting, step)   whether none of FAILURES is among them
    is_flat        (setting, step)   see `flat_region`
    varied, step_size, n_beta, localization  (setting,) coordinates; is_chosen (setting,)
    """
    kernel = kernel_named(settings.sampler)
    places = np.unique([round(share * (len(run) - 1)) for share in PLACES])
    posterior, steps = Posterior(run.select(places), device=device, dtype=dtype), run.steps[places]
    cases = plan(settings, kernel, posterior.examples)
    costs = np.array([cost(case.settings) for case in cases])
    rows = []
    most = max(1, replicas_within(posterior) // settings.chains)  # checkpoints at once
    blocks = torch.arange(len(steps)).split(most)
    for number, case in enumerate(cases):
        parts = []
        for block in blocks:
            some = posterior if len(blocks) == 1 else posterior.at(block.to(posterior.device))
            parts.append(_row(sample_posterior(some, steps[block.numpy()], case.settings, kernel=kernel, seed=seed)))
        rows.append(xr.concat(parts, dim="step"))
        if progress is not None:
            progress(float(costs[: number + 1].sum() / costs.sum()))
    result = xr.concat(rows, dim="setting", join="override")
    each = [case.settings for case in cases]
    names = ("step_size", "n_beta", "localization")
    coordinates: dict[str, Any] = {name: ("setting", [getattr(one, name) for one in each]) for name in names}
    coordinates["varied"] = "setting", [case.what for case in cases]
    coordinates["is_chosen"] = "setting", [is_chosen(one, settings) for one in each]
    result = result.assign_coords(coordinates)
    result["is_flat"] = ("setting", "step"), _flat(result, settings)
    result.attrs = {"sampler": settings.sampler, **{name: getattr(settings, name) for name in names}}
    return result


def plan(settings: Settings, kernel: Kernel, examples: int) -> list[Varied]:
    """Every setting that is tried, sorted along each curve; the chosen ones are in both."""
    chains = min(settings.chains, MOST_CHAINS)
    draws = min(settings.draws, int(np.clip(settings.burn_in, FEWEST_DRAWS, MOST_DRAWS)))
    start = dataclasses.replace(settings, chains=chains, draws=draws, most_draws=draws)
    fixed = dataclasses.replace(start, reasons={**start.reasons, "step_size": GIVEN})  # hmc then keeps it
    found = [Varied("step_size", dataclasses.replace(fixed, step_size=settings.step_size * 2.0**k)) for k in DOUBLINGS]
    base = BASE_ADJUSTED if kernel.is_adjusted else BASE
    for pull in PULLS:
        for k in SHARPENINGS if pull == 1.0 else SHARPENINGS[:-1]:  # the last is dear: longer burn-in, larger batches
            factor = base**k
            one = dataclasses.replace(start, n_beta=settings.n_beta * factor, localization=settings.localization * pull)
            if not kernel.is_adjusted:
                batch = settings.batch_size or examples
                one = dataclasses.replace(
                    one,
                    step_size=settings.step_size / factor,
                    burn_in=round(settings.burn_in * max(1.0, factor)),
                    batch_size=min(examples, round(batch * max(1.0, factor))),
                )
            found.append(Varied("n_beta", one))
    return found


def cost(settings: Settings) -> float:
    """What a setting takes, as a share of others of the same sweep."""
    return (settings.burn_in + settings.draws) * settings.batch_size


def is_chosen(one: Settings, settings: Settings) -> bool:
    return all(getattr(one, name) == getattr(settings, name) for name in ("step_size", "n_beta", "localization"))


def flat_region(llc: np.ndarray, error: np.ndarray, sound: np.ndarray, chosen: int) -> np.ndarray:
    """Which of the settings along a curve belong to the flat region around the chosen one, (setting,) bool.

    Neighbours in one piece with the chosen setting whose chains are sound and whose estimate differs from the chosen
    one's by at most 5% of it, or 2 errors of the difference. None where the chosen setting is not sound itself, or
    neither neighbour stays: one point is no region.
    """
    scale = max(abs(llc[chosen]), SMALLEST_ESTIMATE)
    with np.errstate(invalid="ignore"):
        near = np.abs(llc - llc[chosen]) <= np.fmax(SMALLEST_MOVE * scale, MOVE_ERRORS * np.hypot(error, error[chosen]))
    stays = near & sound
    breaks = np.flatnonzero(~stays)
    low, high = breaks[breaks <= chosen], breaks[breaks >= chosen]
    places = np.arange(len(llc))
    region = (places > (low.max() if len(low) else -1)) & (places < (high.min() if len(high) else len(llc)))
    return region & (region.sum() > 1)


def _flat(result: xr.Dataset, settings: Settings) -> np.ndarray:
    """`flat_region` along the step size, and along nβ at the chosen γ, at every checkpoint."""
    found = np.zeros(result["llc"].shape, dtype=bool)
    for what in ("step_size", "n_beta"):
        on_curve = (result["varied"].values == what) & (result["localization"].values == settings.localization)
        curve = np.flatnonzero(on_curve)
        chosen = int(np.flatnonzero(result["is_chosen"].values[curve])[0])
        for place in range(found.shape[1]):
            llc, error, sound = (result[name].values[curve, place] for name in ("llc", "llc_se", "is_sound"))
            found[curve, place] = flat_region(llc, error, sound, chosen)
    return found


def _row(draws: xr.Dataset) -> xr.Dataset:
    """What is kept of one setting, by checkpoint."""
    found = estimate(draws)
    finite = np.where(finite_chains(draws), 1.0, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a checkpoint without a finite chain has no virial
        virial = np.nanmean((draws["virial_loss"] + draws["virial_localization"]).values * finite, axis=1)
    values = {
        "llc": found.llc,
        "llc_se": found.error,
        "llc_raw": found.raw,
        "llc_virial": virial,
        "llc_virial_se": found.virial_error,
        "llc_rhat": found.rhat,
        "llc_ess": found.ess,
        "llc_headroom": np.full(len(virial), np.nan),
    }
    row = xr.Dataset({name: ("step", value) for name, value in values.items()}, coords={"step": draws["step"]})
    words = flags(draws, row)
    row["llc_flags"] = "step", np.asarray(words, dtype=object)
    row["is_sound"] = "step", np.array([not FAILURES & set(word.split(",")) for word in words])
    return row.drop_vars("llc_headroom")
