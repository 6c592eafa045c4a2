"""Step size and localization of the unadjusted samplers, from pilot walks and the curvature at a few checkpoints."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from devi.sampling.diagnostics import descended_loss
from devi.sampling.pilots import PILOT_CHAINS, Pilots, Variant
from devi.sampling.posterior import Posterior

VIRIAL_TOLERANCE = 0.05  # heat of the step, (ε/4)·E‖∇U‖²/d: what it raises V by
STEP_BIAS_TOLERANCE = 0.1  # of the estimate; it is subtracted, exactly so where the loss is quadratic
RELAXATION = 3.0  # e-foldings of burn-in in a flat direction: its draws start 5% short, and go on towards 0
LEAST_LOCALIZATION = 1e-3  # of nβ: a curvature of 1 then loses 0.1% of its ½
PILOT_RELAXATION = 1.5  # fewer in a pilot, whose localization would otherwise be what heats it
PILOT_STEPS = 120
MOST_ROUNDS = 6
MOST_SHORTENED = 10.0  # times, for a checkpoint far from a minimum: ten times the draws, or the others are held tightly
SHORTER = (1.0, 0.7, 0.5, 0.35)  # times the step chosen from w*
HOT = 0.06  # heat of the step that is then let pass: flags begin at 0.10
# Candidates for ε times the largest curvature of nβ·L at w*: 4 is where a quadratic blows up.
CANDIDATES = (2.0, 1.4, 1.0, 0.8, 0.6, 0.45, 0.35, 0.25, 0.2, 0.16, 0.12, 0.08, 0.04, 0.02, 0.01)
ROUND = len(CANDIDATES) * PILOT_CHAINS * PILOT_STEPS  # gradients of a round at each checkpoint


class Found(NamedTuple):
    """The step size with its reason; one row for each that was tried; which checkpoints it was chosen without.

    left_out  (checkpoint,) bool
    """

    step_size: float
    tried: list[dict[str, float]]
    reason: str
    left_out: Tensor


def chosen_step_size(
    pilots: Pilots,
    localization: float | None,
    progress: Callable[[float], None] | None,
    has_time: Callable[[int], bool] = lambda gradients: True,
) -> Found:
    """The largest candidate that passes at every pilot checkpoint; those far from a minimum may not shorten it 10-fold.

    The heat of a chain that goes downhill is not that of its step, and no step is right for an estimate there.

    has_time  whether so many gradients more can be taken
    """
    checkpoints, half = len(pilots.posterior.centers), PILOT_STEPS // 2
    curvature, scale_at = _curvature(pilots.posterior, pilots.seed), pilots.kernel.scale_at
    is_far = _far_from_minimum(pilots, float(curvature.max()))
    is_steep = is_far & (curvature >= MOST_SHORTENED * curvature[~is_far].max()).cpu()
    steepest = float(curvature[(~is_steep).to(curvature.device)].max()) * pilots.n_beta
    # In equilibrium E‖∇U‖² of a direction is its curvature; what scales its step goes by that.
    steepest *= scale_at(math.sqrt(steepest) / pilots.n_beta)
    sizes = [candidate / steepest for candidate in CANDIDATES]
    settings: list[Variant] = []
    looks: list[tuple[Tensor, ...]] = []
    for round_ in range(MOST_ROUNDS):
        if round_ > 0 and not has_time(checkpoints * ROUND):
            break
        some = [
            Variant(size, PILOT_RELAXATION / (scale_at(0.0) * size * half) if localization is None else localization)
            for size in sizes
        ]
        pilot = pilots.walk(some, burn_in=half, draws=PILOT_STEPS - half)
        share = pilot.bias / pilot.estimate.abs().clamp_min(1.0)
        settings += some
        looks.append((pilot.heat, pilot.virial, share, pilot.estimate))
        heat, virial, share, estimate = (torch.cat(each) for each in zip(*looks, strict=True))  # (size, checkpoint)
        # A comparison with NaN is False: a chain that left the numbers does not pass.
        passes = (heat <= VIRIAL_TOLERANCE) & (share <= STEP_BIAS_TOLERANCE)
        if progress is not None:
            progress(0.7 * (round_ + 1) / MOST_ROUNDS)
        row = _suiting([size for size, *_ in settings], passes, is_far)
        # As large as curvature lets any step be, or as any that is still to be tried may not be.
        if row == 0 or (row is not None and (passes[row].all() or sizes[-1] <= settings[row][0] / MOST_SHORTENED)):
            break
        # The curvature at w* alone misleads where the loss is flat there and steep around it: w⁴.
        sizes = [sizes[-1] * candidate / CANDIDATES[0] for candidate in CANDIDATES]
    kept = torch.ones(checkpoints, dtype=torch.bool) if row is None else passes[row]
    tried = [
        {
            "step_size": size,
            "localization": pull,
            "virial_excess": _largest(heat[place, kept]),
            "virial": _largest(virial[place, kept]),
            "step_bias_share": _largest(share[place, kept]),
            "estimate_at_last": float(estimate[place, kept][-1]),
            "passes": float(passes[place, kept].all()),
        }
        for place, (size, pull, _) in enumerate(settings)
    ]
    if row is None:
        reason = (
            f"the smallest of {len(tried)} tried; none keeps the heat of the step ≤ {VIRIAL_TOLERANCE}: expect the flag"
            " 'virial'"
        )
    elif row == 0:
        reason = "the largest tried: 2 / the largest curvature"
    else:
        reason = (
            f"the largest of {len(tried)} tried with a heat of the step ≤ {VIRIAL_TOLERANCE} and a step's share of"
            f" λ̂ ≤ {STEP_BIAS_TOLERANCE:.0%} at {int(kept.sum())} checkpoints"
        )
    return Found(settings[-1 if row is None else row].step_size, tried, reason, ~kept)


def _far_from_minimum(pilots: Pilots, steepest: float) -> Tensor:
    """Whether a descent from a checkpoint gains more than any λ, d/2, (checkpoint,); False for all if for all.

    Up to there going downhill adds no more heat than equilibrium has: ‖∇U‖² ≤ 2·curvature·(what there is to gain).
    """
    posterior, n_beta = pilots.posterior, pilots.n_beta
    lowest = torch.from_numpy(descended_loss(posterior, step=1 / steepest, n_beta=n_beta))
    is_far = n_beta * (posterior.base_loss.cpu() - lowest) > posterior.dimension / 2
    return is_far & ~is_far.all()


def _suiting(sizes: Sequence[float], passes: Tensor, is_far: Tensor) -> int | None:
    """The row of the size at which most pass, the largest of such; None while not all that are not far do at any.

    Of those that are not shorter than MOST_SHORTENED times what these alone allow.  passes  (size, checkpoint) bool
    """
    suits = [row for row, all_pass in enumerate(passes[:, ~is_far].all(dim=1).tolist()) if all_pass]
    allowed = [row for row in suits if sizes[row] * MOST_SHORTENED > sizes[suits[0]]]
    return max(allowed, key=lambda row: int(passes[row].sum()), default=None)


def shortened(pilots: Pilots, step_size: float, localization: float, *, burn_in: int, draws: int) -> float:
    """The step, or the largest of a few shorter ones, whose chains are still cool where they have come to after so long
    a burn-in: from w* they reach steeper places, by and by. The shortest if none is."""
    sizes = [step_size * times for times in SHORTER]
    pilot = pilots.walk([Variant(size, localization) for size in sizes], burn_in=burn_in, draws=draws)
    passes = (pilot.heat <= HOT).all(dim=1)  # False where a chain left the numbers
    return sizes[int(passes.nonzero()[0])] if passes.any() else sizes[-1]


def most_step_size(n_beta: float) -> float:
    """The step that heats a flat direction by as much as is let pass, held by the least γ: V − 1 = ε·γ/4.

    Of one that no kernel scales. Where the loss feels none of the parameters the curvature is rounding, and
    2 / curvature a step of any length.
    """
    return 4 * VIRIAL_TOLERANCE / (LEAST_LOCALIZATION * n_beta)


def chosen_localization(step_size: float, n_beta: float, burn_in: int) -> tuple[float, str]:
    """The localization with its reason; step_size that of a flat direction, what the kernel scales it by included."""
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


def within_memory(pilots: Pilots, each: int) -> tuple[Pilots, str]:
    """The pilots at as many of their checkpoints as memory holds so many replicas of, and the words for that."""
    some = at_steepest(pilots, pilots.at_once // each)
    count = len(some.steps)
    if count == len(pilots.steps):
        return some, ""
    return some, f", at no more than {count} checkpoint{'s' * (count > 1)}, for memory holds few walks at once"


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
