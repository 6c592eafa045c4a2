"""Rungs: short runs of hmc or mala at the pilot checkpoints; their differences tell whether estimates stay."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from devi.sampling.chains import Goal, sample_posterior
from devi.sampling.diagnostics import SMALLEST_ESTIMATE
from devi.sampling.estimate import Estimate, estimate, n_beta_excess
from devi.sampling.kernels import Kernel
from devi.sampling.posterior import Posterior
from devi.sampling.settings import Settings

CHAINS, BURN_IN, DRAWS, MOST_DRAWS = 16, 120, 60, 480
KNOWN = 0.025  # share of the estimate: the error that a move may have
ENOUGH_KNOWN = Goal(KNOWN / math.sqrt(2))  # a move has the error of two rungs
TRAJECTORY = 2.5  # widths that the longest trajectory goes
FEWEST_LEAPFROG, MOST_LEAPFROG = 4, 32
ESCAPE = 2.0  # of nβ·L: rounding is far less
MOST_ESCAPED = 0.002  # of the draws
USUAL = 10  # rungs, for progress


class Rung(NamedTuple):
    """Settings and what the chains found with them.

    escaped  (step,) whether more than a few draws lie below the checkpoint
    pull     (step,) γ's share of the virial
    uneven   (step,) by how much the virial is off 1
    """

    settings: Settings
    found: Estimate
    escaped: np.ndarray
    pull: np.ndarray
    uneven: np.ndarray


class Rungs:
    """Takes one after another.

    tried      one row for each
    gradients  that all took, each of one replica's loss
    """

    def __init__(
        self,
        posterior: Posterior,
        steps: np.ndarray,
        kernel: Kernel,
        *,
        seed: int,
        progress: Callable[[float], None] | None = None,
        is_late: Callable[[], bool] = lambda: False,
    ) -> None:
        self.posterior, self.steps, self.kernel, self.seed = posterior, steps, kernel, seed
        self.progress, self.is_late = progress, is_late
        self.tried: list[dict[str, float]] = []
        self.gradients = 0

    def __call__(self, settings: Settings) -> Rung:
        """The rung of these settings, with the step size and trajectories that suit it."""

        def enough(draws: xr.Dataset, found: Estimate) -> bool:
            return bool((escaped(draws) > MOST_ESCAPED).any()) or ENOUGH_KNOWN(draws, found) or self.is_late()

        seed = self.seed + 1 + len(self.tried)
        draws = sample_posterior(self.posterior, self.steps, settings, kernel=self.kernel, seed=seed, enough=enough)
        found = estimate(draws)
        self.gradients += draws.attrs["gradients"]
        step_size = float(np.median(draws["step_size"]))
        lost = escaped(draws)
        pull = draws["virial_localization"].mean("chain").values
        virial = draws["virial_loss"].mean("chain").values + pull
        self.tried.append(
            {
                "n_beta": settings.n_beta,
                "localization": settings.localization,
                "step_size": step_size,
                "acceptance": float(draws["acceptance"].mean()),
                "virial": float(virial.mean()),
                "escaped": float(lost.mean()),
                "estimate_at_last": float(found.llc[-1]),
                "error_at_last": float(found.error[-1]),
            }
        )
        if self.progress is not None:
            self.progress(min(len(self.tried) / USUAL, 1.0))
        length = int(np.clip(math.ceil(TRAJECTORY / step_size), FEWEST_LEAPFROG, MOST_LEAPFROG))
        settings = dataclasses.replace(settings, step_size=step_size, leapfrog_steps=length)
        return Rung(settings, found, lost > MOST_ESCAPED, pull, np.abs(virial - 1))


def escaped(draws: xr.Dataset) -> np.ndarray:
    """Share of the draws at a lower loss than the checkpoint's, by more than rounding, (step,)."""
    return (n_beta_excess(draws) < -ESCAPE).mean(axis=(1, 2))


def raised(settings: Settings, *, n_beta: float = 1.0, localization: float = 1.0) -> Settings:
    """The settings with nβ and γ so many times as large."""
    more: dict[str, Any] = {"n_beta": settings.n_beta * n_beta, "localization": settings.localization * localization}
    return dataclasses.replace(settings, **more)


def move(before: Estimate, after: Estimate) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the estimate, (step,): how far it went, and the error of that."""
    scale = np.fmax(np.abs(after.llc), SMALLEST_ESTIMATE / 4)
    return (after.llc - before.llc) / scale, np.hypot(before.error, after.error) / scale
