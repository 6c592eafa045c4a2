"""Climb: nβ and γ for the samplers that accept or reject, raised until the estimate stops moving.

    sharper  16·nβ          first, and on where the loss holds all directions, or more the sharper it is
    zoom     16·nβ and 2·γ  else: some directions are flat, whatever nβ is, and only γ bounds them
    nearer   8·γ            where chains found places below the checkpoint's loss; and at last, where directions are
                            flat, to see what γ does. If the estimate rises, chains had left the checkpoint's own
                            surroundings: climb on there. If it falls, γ holds what the loss should: sharper

At n / log n the posterior is often so wide that it feels more than the checkpoint's surroundings, and γ holds
directions that the loss should: sharpening cures both. Where more singular points, with lower coefficients, are within
reach of the chains, only a stronger γ keeps them away. It also keeps flat directions short, and with them the
trajectories. How much it takes from a direction of order k goes by γ/nβ^(2/k): a zoom brings that down eightfold for
k = 2, twofold for k = 4, hardly for k = 6, and not from k = 8 on. So γ stays where its share of the virial halves as
nβ rises 16-fold, and a climb is not over before a look from nearer.
The estimate has settled where it moves by less than 1.2%, known to 2.5%, and falls by less than 8% at 8γ; twice in a
row if directions are flat, three times if it moved before by more than γ took: with corners of the loss among the data,
as polygons' ReLUs make them, it stays 2 to 5% high over a rung or two before it falls to λ. Where flat directions are
too long for the chains the climb goes back to the rung before: it ends there if the estimate has settled, and else goes
on from nearer, if that moves it little. Where the last move is larger than 1.5%, or the fall than 8%, the estimate is
unresolved: with multiplicity above 1 it creeps as 1 / log nβ, and no affordable nβ is enough.
Directions so soft that γ holds them on every rung do not move it either. So it has not settled where it is short of
half of the Hessian's rank: it is sharpened on, at the same γ, until the loss is felt there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from devi.sampling.curvature import Curvatures, Rank
from devi.sampling.diagnostics import SMALLEST_ESTIMATE, descended_loss, has_headroom
from devi.sampling.posterior import Posterior
from devi.sampling.resolution import Reached, counted, largest, missing
from devi.sampling.rungs import KNOWN, USUAL, Rung, Rungs, move, raised
from devi.sampling.settings import Settings

SHARPER = 16.0  # times nβ
ZOOM, NEARER = 2.0, 8.0  # times γ
MOST_RUNGS = USUAL
HIGHEST, FURTHER = 16.0**4, 16.0**5  # times the first nβ; further only if losses are rounded by little
MOST_ROUNDED = 0.1  # of nβ·L
SETTLED = 0.012  # share of the estimate
MOVING = 0.015
MOVE_ERRORS = 2.0
PULLED = 0.08  # share of the estimate that 8γ may take
RISE = 0.03  # and add: nothing but other surroundings does
LEFT = 0.25  # of that, about what γ takes: a quarter where the order is 4 to 8
UNKNOWN = 0.1  # a move that may be as large counts, at the end of the climb
FLAT = 0.02  # γ's share of the virial, below which the loss holds all directions
HIGH_ORDER = 0.3, 0.7  # times that share, as nβ rises 16-fold: w⁶ 0.4, w⁸ 0.5; w⁴ 0.25, and a flat direction 1
UNEVEN, TOO_UNEVEN = 0.05, 0.15  # of the virial: flat directions are not explored in time


class Climb(NamedTuple):
    """The settings of the last rung, and how far the estimate at each pilot checkpoint moved to it.

    drift  training step -> share of the estimate;  moves  the same where it counts, 0 elsewhere
    reason  what was done to nβ;  reached  what the last rung found
    """

    settings: Settings
    drift: dict[str, float]
    moves: dict[str, float]
    reason: str
    reached: Reached


def stayed(rungs: Rungs, here: Settings) -> Climb:
    """No climb, for nβ is given: how far the estimate moves at half γ, and at twice nβ and γ.

    It counts as in `devi.sampling.resolution`. What is accepted differs from walk to walk, so these share no noise: a
    move is known as well as two estimates are.
    """
    rung = rungs(here)
    if here.step_size == 0:
        return _ended(rung, {}, {}, "given")
    changed = raised(rung.settings, localization=0.5), raised(rung.settings, n_beta=2, localization=2)
    moved = [move(rungs(settings).found, rung.found) for settings in changed]
    shares = np.stack([counted(-share, error).share for share, error in moved])
    return _ended(rung, {}, largest(rungs.steps, shares), "given")


def climb(rungs: Rungs, here: Settings, known: Sequence[Curvatures | Rank] = ()) -> Climb:
    """Rungs from the settings `here` up; none above once it is late.

    known  the curvatures at each of the checkpoints, or none
    """
    tried, steps = rungs.tried, rungs.steps
    highest = _highest(rungs.posterior, here.n_beta)
    rung = rungs(here)
    rests = _is_minimum(rungs.posterior, rung)  # the others move as nβ grows, whatever their coefficient is
    if not rests.any():
        reason = "no checkpoint that was tried is at a minimum, and sharpening would only lead away from it"
        return _ended(rung, {}, {}, reason)
    share = error = unknown = np.full(len(steps), np.inf)
    before, raises = rung, 1.0  # γ by so much
    calm, has_moved = 0, False  # rungs in a row to which the estimate stayed, and whether there was one before
    while True:
        is_last = len(tried) >= MOST_RUNGS - 1 or rungs.is_late()
        if rung.escaped[rests].any() and not is_last:
            before = rung = rungs(raised(rung.settings, localization=NEARER))
            share, calm = unknown, 0
            continue
        worst = rung.uneven[rests].max()
        is_stuck = worst > TOO_UNEVEN
        is_last |= is_stuck or rung.settings.n_beta >= highest
        pulled = np.zeros(len(steps))
        is_short = (missing(known, rung.found.llc, rung.found.error)[rests] > UNKNOWN).any()
        needed = 3 if has_moved else 1 + (rung.pull[rests] > FLAT).any()
        if is_last or (calm >= needed and not is_short):
            best = before if worst > max(UNEVEN, before.uneven[rests].max()) else rung
            if (best.pull[rests] > FLAT).any():
                near = rungs(raised(best.settings, localization=NEARER))
                pulled = _significant(*move(best.found, near.found), fall=PULLED, rise=RISE)
                # Chains that are stuck move on where flat directions are shorter, if that changes nothing else.
                goes_on = is_stuck and not pulled[rests].any() and _counted(share, error)[rests].any()
                if ((pulled[rests] > 0).any() or goes_on) and len(tried) < MOST_RUNGS - 1 and not rungs.is_late():
                    before, rung, raises, share, calm = near, near, ZOOM, unknown, 0
                    continue
            if is_last or not pulled[rests].any():
                break
        raises = 1.0 if is_short else raises
        before, rung = rung, rungs(raised(rung.settings, n_beta=SHARPER, localization=raises))
        if rung.uneven[rests].max() > TOO_UNEVEN:
            continue  # what it moved by is nothing to go by
        share, error = move(before.found, rung.found)
        calm = calm + 1 if _is_settled(share[rests], error[rests]) else 0
        # What γ takes of a quadratic, half its share of the virial for each parameter, comes back as nβ rises.
        came_back = (
            (before.pull - rung.pull) * rungs.posterior.dimension / 2 / np.fmax(rung.found.llc, SMALLEST_ESTIMATE)
        )
        has_moved |= not _is_settled((share - came_back)[rests], error[rests])
        raises = 1.0 if pulled[rests].any() else _zoom(before.pull[rests], rung.pull[rests], raises)
    told = "until the estimate stayed" if _is_settled(share[rests], error[rests]) else "and the estimate still moves"
    if pulled[rests].any():
        told += f", but not at {NEARER:g} times the localization"
    # Where directions are flat, the move tells what is left to move no better than it is known itself.
    drift = np.where(best.pull > FLAT, np.hypot(share, error), share)
    drift = np.hypot(drift, LEFT * pulled)
    return _ended(
        best,
        _by_step(steps[rests], np.where(np.isfinite(drift), drift, 0.0)[rests]),
        _by_step(steps[rests], np.where(pulled == 0, _counted(share, error), pulled)[rests]),
        f"raised {best.settings.n_beta / here.n_beta:g}-fold, {told}",
    )


def _highest(posterior: Posterior, first: float) -> float:
    """The nβ that a climb from the first one ends at; each example's loss is rounded by itself, and evenly."""
    rounding = torch.finfo(posterior.dtype).eps / 2 * float(posterior.base_loss.max()) / math.sqrt(posterior.examples)
    return first * FURTHER if first * FURTHER * rounding <= MOST_ROUNDED else first * HIGHEST


def _ended(rung: Rung, drift: dict[str, float], moves: dict[str, float], reason: str) -> Climb:
    settings, found = rung.settings, rung.found
    here = Reached(found.llc, found.error, settings.n_beta, settings.localization)
    return Climb(settings, drift, moves, reason, here)


def _zoom(before: np.ndarray, after: np.ndarray, raised: float) -> float:
    """What γ should rise by with nβ on the next rung, by its share of the virial on the last two, (step,) each.

    raised  what it rose by on the last
    """
    low, high = HIGH_ORDER
    with np.errstate(divide="ignore", invalid="ignore"):
        times = after / before
    is_high_order = (times > low) & (times < high) & (raised == 1)
    return ZOOM if (after > FLAT).any() and not is_high_order[after > FLAT].any() else 1.0


def _is_settled(share: np.ndarray, error: np.ndarray) -> bool:
    return bool(((np.abs(share) <= SETTLED + error) & (error <= KNOWN)).all())


def _significant(share: np.ndarray, error: np.ndarray, *, fall: float, rise: float) -> np.ndarray:
    """The moves that are larger than these and than their errors, 0 elsewhere."""
    least = np.where(share > 0, rise, fall)
    return np.where(np.abs(share) > np.fmax(least, MOVE_ERRORS * error), share, 0.0)


def _counted(share: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The moves that count: larger than MOVING and than their errors, or known too little; 1 where one is no number."""
    size, reach = np.abs(share), MOVE_ERRORS * error
    counts = (size > MOVING) & (size > reach) | (size + reach > UNKNOWN)
    return np.where(np.isfinite(share), np.where(counts, share, 0.0), 1.0)


def _by_step(steps: np.ndarray, shares: np.ndarray) -> dict[str, float]:
    return {str(int(step)): round(float(share), 4) for step, share in zip(steps, shares, strict=True)}


def _is_minimum(posterior: Posterior, rung: Rung) -> np.ndarray:
    """Whether a checkpoint has too little headroom to count as off a minimum, (step,)."""
    base = posterior.base_loss.cpu().numpy()
    n_beta = rung.settings.n_beta
    lower = descended_loss(posterior, step=1 / (rung.settings.localization or n_beta), n_beta=n_beta)
    return ~has_headroom(n_beta * (base - lower), rung.found.llc)
