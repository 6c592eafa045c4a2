"""Climb: nβ and γ for the samplers that accept or reject, raised until the estimate stops moving.

    sharper  16·nβ                 until the estimate moves by less than 1.2%, known to 2.5%
    nearer   16·nβ and 8·γ, then   if that raises it, chains had left the checkpoint's own surroundings: climb on there;
                                   not tried where the loss holds all directions

At n / log n the posterior is often so wide that it feels more than the checkpoint's surroundings, and γ holds
directions that the loss should: sharpening cures both. Where more singular points, with lower coefficients, are within
reach of the chains, only a stronger γ keeps them away; the same where they find places below the checkpoint's loss.
Where the last move is larger than 1.5%, the estimate is unresolved: with multiplicity above 1 it creeps as 1 / log nβ,
and no affordable nβ is enough.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from devi.sampling.chains import sample_posterior
from devi.sampling.diagnostics import HEADROOM_SHARE, descended_loss
from devi.sampling.estimate import Estimate, estimate, n_beta_excess
from devi.sampling.kernels import Kernel
from devi.sampling.posterior import Posterior
from devi.sampling.resolution import SMALLEST_ESTIMATE
from devi.sampling.settings import Settings

SHARPER = 16.0  # times nβ
NEARER = 8.0  # times γ
MOST_RUNGS = 8
HIGHEST = 16.0**4  # times the first nβ: rounding of a loss near 1 in float32 is then still small
SETTLED, KNOWN = 0.012, 0.025  # shares of the estimate: a move, and the error that it may have
MOVING = 0.015
MOVE_ERRORS = 2.0
CHAINS, BURN_IN, DRAWS = 16, 120, 160
TRAJECTORY = 4.0  # widths that the longest trajectory goes
FEWEST_LEAPFROG, MOST_LEAPFROG = 4, 48
ESCAPE = 2.0  # of nβ·L: rounding is far less
MOST_ESCAPED = 0.002  # of the draws
HELD_BY_LOSS = 0.02  # γ's share of the virial: below, no direction is free to lead away


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


class Rung(NamedTuple):
    """Settings and what the chains found with them.

    escaped  (step,) whether more than a few draws lie below the checkpoint;  pull  (step,) γ's share of the virial
    """

    settings: Settings
    found: Estimate
    escaped: np.ndarray
    pull: np.ndarray


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

    def sampled(settings: Settings) -> Rung:
        """The rung, with the step size and trajectories that suit it."""
        draws = sample_posterior(posterior, steps, settings, kernel=kernel, seed=seed + 1 + len(tried))
        found = estimate(draws)
        step_size = float(np.median(draws["step_size"]))
        length = int(np.clip(math.ceil(TRAJECTORY / step_size), FEWEST_LEAPFROG, MOST_LEAPFROG))
        lost = (n_beta_excess(draws) < -ESCAPE).mean(axis=(1, 2))
        tried.append(
            {
                "n_beta": settings.n_beta,
                "localization": settings.localization,
                "step_size": step_size,
                "acceptance": float(draws["acceptance"].mean()),
                "virial": float((draws["virial_loss"] + draws["virial_localization"]).mean()),
                "escaped": float(lost.mean()),
                "estimate_at_last": float(found.llc[-1]),
                "error_at_last": float(found.error[-1]),
            }
        )
        if progress is not None:
            progress(len(tried) / MOST_RUNGS)
        settings = dataclasses.replace(settings, step_size=step_size, leapfrog_steps=length)
        return Rung(settings, found, lost > MOST_ESCAPED, draws["virial_localization"].mean("chain").values)

    rung = sampled(here)
    if not climbs:
        return Climb(rung.settings, {}, {}, tried, "given")
    rests = _is_minimum(posterior, rung)  # the others move as nβ grows, whatever their coefficient is
    if not rests.any():
        reason = "no checkpoint that was tried is at a minimum, and sharpening would only lead away from it"
        return Climb(rung.settings, {}, {}, tried, reason)
    share = error = np.full(len(steps), np.inf)
    is_near = False
    while len(tried) < MOST_RUNGS and not is_near:
        if rung.escaped[rests].any():
            rung = sampled(_raised(rung.settings, localization=NEARER))
        elif not _is_settled(share[rests], error[rests]) and rung.settings.n_beta < HIGHEST * here.n_beta:
            before, rung = rung, sampled(_raised(rung.settings, n_beta=SHARPER))
            share, error = _move(before.found, rung.found)
        elif (rung.pull[rests] < HELD_BY_LOSS).all():
            is_near = True
        else:
            nearer = sampled(_raised(rung.settings, n_beta=SHARPER, localization=NEARER))
            moved = _move(rung.found, nearer.found)
            is_near = bool(nearer.escaped[rests].any() or not (_counted(*moved)[rests] > 0).any())
            if not is_near:
                rung, (share, error) = nearer, moved
    told = "until the estimate stayed" if _is_settled(share[rests], error[rests]) else "and the estimate still moves"
    times = rung.settings.n_beta / here.n_beta
    return Climb(
        rung.settings,
        _by_step(steps[rests], np.where(np.isfinite(share), share, 0.0)[rests]),
        _by_step(steps[rests], _counted(share, error)[rests]),
        tried,
        f"raised {times:g}-fold, {told}",
    )


def _raised(settings: Settings, *, n_beta: float = 1.0, localization: float = 1.0) -> Settings:
    return dataclasses.replace(
        settings, n_beta=settings.n_beta * n_beta, localization=settings.localization * localization
    )


def _is_settled(share: np.ndarray, error: np.ndarray) -> bool:
    return bool(((np.abs(share) <= SETTLED + error) & (error <= KNOWN)).all())


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


def _is_minimum(posterior: Posterior, rung: Rung) -> np.ndarray:
    """Whether a checkpoint has too little headroom to count as off a minimum, (step,)."""
    base = posterior.base_loss.cpu().numpy()
    lower = descended_loss(posterior, step=1 / rung.settings.localization)
    return rung.settings.n_beta * (base - lower) <= HEADROOM_SHARE * np.fmax(rung.found.llc, 1.0)
