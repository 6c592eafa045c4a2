"""Climb: nβ for the samplers that accept or reject, raised until the estimate stops moving.

    rung k:  nβ = 16^k·n/log n,  γ as it is;  up while an estimate still moves by more than 2% and 2 errors

At n / log n the posterior is often so wide that it feels more than the checkpoint's own surroundings, and γ holds
directions that the loss should: sharpening cures both. γ stays, 1 / (mean square weight), so that chains keep near the
checkpoint. Where the last move is still larger than 2.5%, the estimate is unresolved: with multiplicity above 1
it creeps as 1 / log nβ, and no affordable nβ is enough.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr

from devi.sampling.chains import sample_posterior
from devi.sampling.diagnostics import HEADROOM_SHARE, descended_loss
from devi.sampling.estimate import Estimate, estimate, n_beta_excess
from devi.sampling.kernels import Kernel
from devi.sampling.posterior import Posterior
from devi.sampling.resolution import SMALLEST_ESTIMATE
from devi.sampling.settings import Settings

RATIO = 16.0
MOST_RUNGS = 5
MOST_ATTEMPTS = 7
TRAJECTORY = 4.0  # widths that the longest trajectory goes
FEWEST_LEAPFROG, MOST_LEAPFROG = 4, 48
ESCAPE = 2.0  # of nβ·L: rounding is far less
MOST_ESCAPED = 0.002  # of the draws
TIGHTER = 8.0  # times the localization, where chains escaped
SETTLED = 0.02
MOVING = 0.025  # a settled estimate with an error of 1% passes nine times in ten
MOVE_ERRORS = 2.0
CHAINS, BURN_IN, DRAWS = 16, 120, 120


class Climb(NamedTuple):
    """The settings of the last rung, and how far the estimate at each pilot checkpoint moved to it.

    drift  training step -> share of the estimate;  moves  the same where it counts, 0 elsewhere
    tried  one row for each rung
    """

    settings: Settings
    drift: dict[str, float]
    moves: dict[str, float]
    tried: list[dict[str, float]]
    reason: str


def climb(
    posterior: Posterior,
    steps: np.ndarray,
    kernel: Kernel,
    here: Settings,
    *,
    climbs: bool,
    seed: int,
    progress: Callable[[float], None] | None = None,
) -> Climb:
    """Rungs from the settings `here` up; only the first if not `climbs`."""
    tried: list[dict[str, float]] = []
    before: Estimate | None = None
    drift: dict[str, float] = {}
    moves: dict[str, float] = {}
    rung, reason = 0, "given"
    for attempt in range(MOST_ATTEMPTS if climbs else 1):
        draws = sample_posterior(posterior, steps, here, kernel=kernel, seed=seed + 1 + attempt)
        found = estimate(draws)
        step_size = float(np.median(draws["step_size"]))
        length = int(np.clip(math.ceil(TRAJECTORY / step_size), FEWEST_LEAPFROG, MOST_LEAPFROG))
        here = dataclasses.replace(here, step_size=step_size, leapfrog_steps=length)
        lost = escaped(draws)
        tried.append(
            {
                "n_beta": here.n_beta,
                "localization": here.localization,
                "step_size": step_size,
                "acceptance": float(draws["acceptance"].mean()),
                "virial": float((draws["virial_loss"] + draws["virial_localization"]).mean()),
                "escaped": float(lost.mean()),
                "estimate_at_last": float(found.llc[-1]),
                "error_at_last": float(found.error[-1]),
            }
        )
        if progress is not None:
            progress((attempt + 1) / MOST_ATTEMPTS)
        if climbs and rung == 0 and _has_headroom(posterior, here, found):
            reason = "n / log n: the checkpoints are not at a minimum, so sharpening would leave them"
            break
        if climbs and (lost > MOST_ESCAPED).any() and attempt < MOST_ATTEMPTS - 1:
            # Chains found a lower place than the checkpoint, which is at a minimum: hold them nearer.
            here = dataclasses.replace(here, localization=here.localization * TIGHTER)
            before = None
            continue
        if before is not None:
            share, error = _move(before, found)
            drift, moves = _by_step(steps, share), _by_step(steps, _counted(share, error))
            if (np.abs(share) <= np.fmax(SETTLED, MOVE_ERRORS * error)).all():
                reason = f"raised {RATIO:g}-fold {rung} times, until the estimate stayed"
                break
            reason = f"raised {RATIO:g}-fold {rung} times; the estimate still moves"
        before = found
        if climbs and rung < MOST_RUNGS - 1 and attempt < MOST_ATTEMPTS - 1:
            rung += 1
            here = dataclasses.replace(here, n_beta=here.n_beta * RATIO)
    return Climb(here, drift, moves, tried, reason)


def escaped(draws: xr.Dataset) -> np.ndarray:
    """Share of the draws that are below the checkpoint's loss by more than noise, (step,)."""
    return (n_beta_excess(draws) < -ESCAPE).mean(axis=(1, 2))


def _move(before: Estimate, after: Estimate) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the estimate, (step,): how far it went, and the error of that."""
    scale = np.fmax(np.abs(after.llc), SMALLEST_ESTIMATE / 4)
    return (after.llc - before.llc) / scale, np.hypot(before.error, after.error) / scale


def _counted(share: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The moves that count: larger than MOVING and than their errors; 1 where one is not a number."""
    counts = (np.abs(share) > MOVING) & (np.abs(share) > MOVE_ERRORS * error)
    return np.where(np.isfinite(share), np.where(counts, share, 0.0), 1.0)


def _by_step(steps: np.ndarray, shares: np.ndarray) -> dict[str, float]:
    return {str(int(step)): round(float(share), 4) for step, share in zip(steps, shares, strict=True)}


def _has_headroom(posterior: Posterior, settings: Settings, found: Estimate) -> bool:
    """Whether every pilot checkpoint has more headroom than counts as being at a minimum."""
    base = posterior.base_loss.cpu().numpy()
    lower = descended_loss(posterior, step=1 / settings.localization)
    return bool((settings.n_beta * (base - lower) > HEADROOM_SHARE * np.fmax(found.llc, 1.0)).all())
