"""Step size and localization of the unadjusted samplers, from pilot walks and the curvature at a few checkpoints."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from devi.sampling.pilots import PILOT_CHAINS, Pilots, Variant
from devi.sampling.posterior import Posterior

VIRIAL_TOLERANCE = 0.05  # heat of the step, (ε/4)·E‖∇U‖²/d: what it raises V by
STEP_BIAS_TOLERANCE = 0.1  # of the estimate; it is subtracted, exactly so where the loss is quadratic
RELAXATION = 3.0  # e-foldings of burn-in in a flat direction: its draws start 5% short, and go on towards 0
LEAST_LOCALIZATION = 1e-3  # of nβ: a curvature of 1 then loses 0.1% of its ½
PILOT_RELAXATION = 1.5  # fewer in a pilot, whose localization would otherwise be what heats it
PILOT_STEPS = 120
MOST_ROUNDS = 6
SHORTER = (1.0, 0.7, 0.5, 0.35)  # times the step chosen from w*
HOT = 0.06  # heat of the step that is then let pass: flags begin at 0.10
# Candidates for ε times the largest curvature of nβ·L at w*: 4 is where a quadratic blows up.
CANDIDATES = (2.0, 1.4, 1.0, 0.8, 0.6, 0.45, 0.35, 0.25, 0.2, 0.16, 0.12, 0.08, 0.04, 0.02, 0.01)
ROUND = len(CANDIDATES) * PILOT_CHAINS * PILOT_STEPS  # gradients of a round at each checkpoint


def chosen_step_size(
    pilots: Pilots,
    localization: float | None,
    progress: Callable[[float], None] | None,
    has_time: Callable[[int], bool] = lambda gradients: True,
) -> tuple[float, list[dict[str, float]], str]:
    """The largest candidate that passes at every pilot checkpoint; one row for each that was tried; the reason.

    has_time  whether so many gradients more can be taken
    """
    checkpoints, half = len(pilots.posterior.centers), PILOT_STEPS // 2
    scale = float(_curvature(pilots.posterior, pilots.seed).max()) * pilots.n_beta
    tried: list[dict[str, float]] = []
    sizes = [candidate / scale for candidate in CANDIDATES]
    for round_ in range(MOST_ROUNDS):
        if round_ > 0 and not has_time(checkpoints * ROUND):
            break
        settings = [
            Variant(size, PILOT_RELAXATION / (size * half) if localization is None else localization) for size in sizes
        ]
        pilot = pilots.walk(settings, burn_in=half, draws=PILOT_STEPS - half)
        share = pilot.bias / pilot.estimate.abs().clamp_min(1.0)
        # A comparison with NaN is False: a chain that left the numbers does not pass.
        passes = ((pilot.heat <= VIRIAL_TOLERANCE) & (share <= STEP_BIAS_TOLERANCE)).all(dim=1)
        tried += [
            {
                "step_size": size,
                "localization": pull,
                "virial_excess": _largest(pilot.heat[row]),
                "virial": _largest(pilot.virial[row]),
                "step_bias_share": _largest(share[row]),
                "estimate_at_last": float(pilot.estimate[row, -1]),
                "passes": float(passes[row]),
            }
            for row, (size, pull, _) in enumerate(settings)
        ]
        if progress is not None:
            progress(0.7 * (round_ + 1) / MOST_ROUNDS)
        if passes[0] and round_ == 0:
            break  # as large as curvature lets any step be
        if passes.any():
            reason = (
                f"the largest of {len(tried)} tried with a heat of the step ≤ {VIRIAL_TOLERANCE} and a step's share of"
                f" λ̂ ≤ {STEP_BIAS_TOLERANCE:.0%} at {checkpoints} checkpoints"
            )
            return sizes[int(passes.nonzero()[0])], tried, reason
        # The curvature at w* alone misleads where the loss is flat there and steep around it: w⁴.
        sizes = [sizes[-1] * candidate / CANDIDATES[0] for candidate in CANDIDATES]
    if tried[0]["passes"]:
        return sizes[0], tried, "the largest tried: 2 / the largest curvature"
    reason = (
        f"the smallest of {len(tried)} tried; none keeps the heat of the step ≤ {VIRIAL_TOLERANCE}: expect the flag"
        " 'virial'"
    )
    return tried[-1]["step_size"], tried, reason


def shortened(pilots: Pilots, step_size: float, localization: float, *, burn_in: int, draws: int) -> float:
    """The step, or the largest of a few shorter ones, whose chains are still cool where they have come to after so long
    a burn-in: from w* they reach steeper places, by and by. The shortest if none is."""
    sizes = [step_size * times for times in SHORTER]
    pilot = pilots.walk([Variant(size, localization) for size in sizes], burn_in=burn_in, draws=draws)
    passes = (pilot.heat <= HOT).all(dim=1)  # False where a chain left the numbers
    return sizes[int(passes.nonzero()[0])] if passes.any() else sizes[-1]


def most_step_size(n_beta: float) -> float:
    """The step that heats a flat direction by as much as is let pass, held by the least γ: V − 1 = ε·γ/4.

    Where the loss feels none of the parameters the curvature is rounding, and 2 / curvature a step of any length.
    """
    return 4 * VIRIAL_TOLERANCE / (LEAST_LOCALIZATION * n_beta)


def chosen_localization(step_size: float, n_beta: float, burn_in: int) -> tuple[float, str]:
    least = LEAST_LOCALIZATION * n_beta
    if step_size <= 0 or burn_in <= 0:
        return least, "nβ / 1000"
    relaxing = RELAXATION / (step_size * burn_in)
    if relaxing > least:
        return relaxing, f"{RELAXATION:g} / (step size × burn-in): flat directions are in equilibrium after burn-in"
    return least, "nβ / 1000: a curvature of 1 loses 0.1% of its share"


def at_steepest(pilots: Pilots, count: int) -> Pilots:
    """The pilots at so many of their checkpoints, at least one: the steepest, for the step has to suit these."""
    if count >= len(pilots.steps):
        return pilots
    rows = _curvature(pilots.posterior, pilots.seed).argsort(descending=True)[: max(1, count)].sort().values
    return dataclasses.replace(pilots, posterior=pilots.posterior.at(rows), steps=pilots.steps[rows.cpu().numpy()])


def _curvature(posterior: Posterior, seed: int, iterations: int = 12) -> Tensor:
    """Largest |eigenvalue| of the Hessian of L at each checkpoint, (checkpoint,), by power iteration.

    Hessian times vector by central differences of the gradient, at all checkpoints at once; 12 rounds find it to 10%,
    which is enough to place a grid of candidates.
    """
    rows = torch.arange(len(posterior.centers), device=posterior.device)
    fixed = posterior.fixed_at(rows)
    generator = torch.Generator(posterior.device).manual_seed(seed)
    data = posterior.data
    if posterior.examples > 2048:
        data = posterior.minibatch(torch.arange(2048, device=posterior.device))
    vector = torch.randn(
        posterior.dimension, generator=generator, device=posterior.device, dtype=posterior.dtype
    ).repeat(len(rows), 1)
    # Far enough to see past rounding: ‖difference‖ 1e-2, or 1% of the parameters' own size.
    reach = 1e-2 * (1 + posterior.centers.norm(dim=1, keepdim=True) / math.sqrt(posterior.dimension))
    size = torch.zeros(len(rows), 1, device=posterior.device, dtype=posterior.dtype)
    for _ in range(iterations):
        vector = vector / vector.norm(dim=1, keepdim=True).clamp_min(1e-30)
        ahead = posterior.loss_and_gradient(posterior.centers + reach * vector, fixed, data)[1]
        behind = posterior.loss_and_gradient(posterior.centers - reach * vector, fixed, data)[1]
        vector = (ahead - behind) / (2 * reach)
        size = vector.norm(dim=1, keepdim=True)
    return size[:, 0].double().clamp_min(1e-6)


def _largest(values: Tensor) -> float:
    """The value farthest from nothing, NaN if any is: the worst checkpoint speaks."""
    return float("nan") if values.isnan().any() else float(values.max())
