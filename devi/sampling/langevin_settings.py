"""Settings of sgld and psgld, from short walks at a few checkpoints.

    ε  = the largest step with  V − 1 ≤ 0.05  and  discretization share of λ̂ ≤ 0.1  at every checkpoint tried
         (but for those far from a minimum that would have it ten times shorter than the others allow),
         V = E[(w − w*)·∇U]/d the virial, which for a chain in its stationary state is 1 + (ε/4)·E‖∇U‖²/d;
         tried first from w*, then as long as burn-in takes, where chains have come to steeper places
    γ  = 3 / (ε·burn_in)       what a direction without curvature varies by is then e⁻³ short of its end after burn-in;
                               not below nβ/1000
    burn_in : draws = 1 : 1 where steps are cheap, for γ then costs an estimate more than noise does; else 1 : 6

For psgld ε stands for ε·m, m its preconditioner: in V as the chains find it, in γ what it is where the loss is flat.
So γ buys boundedness in flat directions at the price of a bias: a direction of curvature a in nβ·L adds
½·a/(a + γ) instead of ½. With few parameters there are thousands of steps, γ is nβ/1000 and a quadratic of
curvature 1 loses 0.1%; a network at hundreds of checkpoints has hundreds of steps, and directions with a < γ are left
out of its estimate. Whether they matter is tried: see `devi.sampling.resolution`; where a soft direction is held so
tightly that no change shows it, the Hessian does: see `devi.sampling.curvature`.
"""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np
from torch import Tensor

from devi.errors import Notice
from devi.sampling.budget import FEWEST_STEPS as SHORTEST
from devi.sampling.budget import MOST_CALIBRATING, Clock
from devi.sampling.choice import FEW_REPLICAS, FEWEST_STEPS, WORK, Choice, Trial, work
from devi.sampling.curvature import curvatures, gradients_of, regular_localization
from devi.sampling.diagnostics import SMALLEST_ESTIMATE, rhat_and_ess
from devi.sampling.pilots import PILOT_CHAINS, Pilot, Pilots
from devi.sampling.posterior import Posterior
from devi.sampling.rehearsal import HOLD, LONGEST, Rehearsal
from devi.sampling.resolution import fallen_short, reached, reason, variants
from devi.sampling.settings import Settings
from devi.sampling.step_size import (
    CANDIDATES,
    MOST_SHORTENED,
    RELAXATION,
    ROUND,
    at_steepest,
    chosen_step_size,
    most_step_size,
    within_memory,
)

FIRST_LOOK = 500  # draws of the rehearsal, at most
ERROR_TARGET = 0.015  # standard error as a share of the estimate, where that many draws can be afforded
FEWEST_EFFECTIVE, FEWEST_DRAWS = 400, 200  # of all chains: fewer, and R-hat over many chains is noisy; of each chain
MOST_CHAINS = 32
MOST_STEPS, MOST_REPLICA_STEPS = 6000, 1.8e6
# Whether the estimate moves with γ or nβ is asked within this work or this share of all gradients; of that a half at
# first, the rest where it cannot be told.
MOVES_WORK, MOVES_SHARE = WORK / 8, 0.1
# Within a budget: replicas of each checkpoint in a rehearsal, one walk of four steps and two of three variants; its
# fewest steps.
REHEARSED, SHORTEST_REHEARSAL = PILOT_CHAINS * (4 + 2 * 3), 40


def choose(choice: Choice, trial: Trial) -> Settings:
    """The settings, those that are in `choice` as they are."""
    posterior, kernel, seed = trial.posterior, trial.kernel, trial.seed
    n, n_beta = posterior.examples, choice["n_beta"]
    chains = int(choice("chains", lambda: (
        max(4, min(MOST_CHAINS, FEW_REPLICAS // trial.checkpoints)),
        f"4 are enough for R-hat and an error between chains; up to {MOST_CHAINS} where checkpoints are few",
    )))  # fmt: skip
    replicas = chains * trial.checkpoints
    most = int(min(MOST_STEPS, MOST_REPLICA_STEPS / replicas))
    choice("batch_size", lambda: _batch_size(posterior, n_beta, replicas, most))
    choice["batch_size"] = batch_size = min(int(choice["batch_size"]) or n, n)
    affordable = WORK / (work(posterior, batch_size) * replicas)
    steps = int(max(FEWEST_STEPS, min(most, affordable)))
    pilots = Pilots(posterior, trial.steps, kernel, n_beta, batch_size, seed)
    pilots, fewer = within_memory(pilots, len(variants(0.0, 0.0)) * PILOT_CHAINS)
    if trial.clock.is_set:
        pilots, most = _in_time(pilots, choice, trial.clock, replicas)
        steps = min(steps, most)
    posterior, clock = pilots.posterior, trial.clock
    step_size, localization, flat = choice.get("step_size"), choice.get("localization"), kernel.scale_at(0.0)
    burn_in = int(choice("burn_in", lambda: (
        (math.ceil(RELAXATION / (flat * step_size * localization)), f"{RELAXATION:g} / (step size × localization)")
        if localization and step_size
        else ((steps // 2, "half of the steps") if steps == MOST_STEPS else (steps * 3 // 20, "15% of the steps"))
    )))  # fmt: skip
    tried: list[dict[str, float]] = []
    if step_size is None:
        # Twice as long, for the rehearsal needs some too.
        has_time = lambda gradients: 2 * gradients * pilots.seconds_per_gradient < clock.left()  # noqa: E731
        found = chosen_step_size(pilots, localization, trial.progress, has_time)
        choice["step_size"], tried, choice.why["step_size"], left_out = found
        if left_out.any():
            pilots, told = _without(pilots, left_out)
            choice.why["step_size"] += f"; {told}"
            posterior = pilots.posterior
    known = curvatures(posterior)
    soft = regular_localization(known, n_beta, HOLD) if localization is None else None
    most_size = most_step_size(n_beta) / flat
    if step_size is None and localization is None and soft is None and choice["step_size"] > most_size:
        choice["step_size"] = most_size
        choice.why["step_size"] += "; no longer than a direction that the loss does not feel can be held at"
    look = min(choice.get("draws", max(steps - burn_in, FEWEST_STEPS)), FIRST_LOOK)
    settings = len(variants(0.0, 0.0)) * len(pilots.steps)
    allowed = max(MOVES_WORK / work(posterior, batch_size), MOVES_SHARE * replicas * steps)
    longest = LONGEST
    if clock.is_set:
        gradients = clock.left() / pilots.seconds_per_gradient
        # Of a share for burn-in and draws each; a fourth for what is asked further.
        half = max(int(gradients / (2 * len(pilots.steps) * REHEARSED)), SHORTEST_REHEARSAL // 2)
        look, longest, allowed = min(look, half), min(longest, half), min(allowed, gradients / 4)
    rehearsal = Rehearsal(choice, pilots, soft, draws=int(look), longest=longest)
    many = min(
        int(allowed / 2 / (settings * (rehearsal.burn_in + rehearsal.draws))),
        min(FEW_REPLICAS, pilots.at_once) // settings,
    )
    pilots.chains = max(PILOT_CHAINS, many)
    rehearsal.shorten()
    trial.tell(0.75)
    rehearsal.start()
    trial.tell(0.85)
    most_draws = int(choice.get("draws", allowed / (settings * pilots.chains) - rehearsal.burn_in))
    moved = rehearsal.moves(most_draws=most_draws, is_late=clock.is_late)
    moved = fallen_short(moved, posterior, pilots.steps, known, reached(rehearsal.walk))
    # Last, for the step size and burn-in that they go by may have changed in the rehearsal.
    left = steps - int(choice["burn_in"])
    most_draws = int(choice.get("draws", max(left, FEWEST_STEPS)))
    otherwise = "what is left" if left >= FEWEST_STEPS else "the fewest, for burn-in takes the rest"
    otherwise += f" of {steps} steps, for {replicas} replicas"
    choice("draws", lambda: _draws(rehearsal.walk.told, chains, choice["burn_in"], most_draws, otherwise))
    choice.why["unresolved"] = reason(moved)
    choice.why["calibration"] = f"{pilots.gradients:,} gradients{fewer}"
    seconds = pilots.seconds_per_gradient
    return choice.settings(kernel, most_draws=most_draws, seconds_per_step=seconds, tried=tried, moves=moved)


def _without(pilots: Pilots, left_out: Tensor) -> tuple[Pilots, str]:
    """The other pilots, and what is said of these, in a notice too."""
    steps = ", ".join(map(str, pilots.steps[left_out.numpy()].tolist()))
    told = (
        f"chosen without training step {steps}, far from a minimum, where it would be {MOST_SHORTENED:g} times shorter"
    )
    warnings.warn(f"The step size is {told}. Estimates there say nothing; look at their flags.", Notice, stacklevel=2)
    rows = (~left_out).nonzero()[:, 0]
    posterior = pilots.posterior.at(rows.to(pilots.posterior.device))
    return dataclasses.replace(pilots, posterior=posterior, steps=pilots.steps[rows.numpy()]), told


def _in_time(pilots: Pilots, choice: Choice, clock: Clock, replicas: int) -> tuple[Pilots, int]:
    """Pilots at as many checkpoints as there is time for, and how many steps of all chains there is time for.

    Raises DeviError where it is not enough for one checkpoint.
    """
    posterior, free = pilots.posterior, "step_size" not in choice
    seconds = pilots.timed(len(CANDIDATES), most=clock.left() / 10)
    each = (ROUND if free else 0) + gradients_of(posterior.dimension)
    least = choice.get("burn_in", 0) + SHORTEST
    clock.check(seconds, calibration=each + SHORTEST_REHEARSAL * REHEARSED, sampling=replicas * least)
    if each:
        pilots = at_steepest(pilots, int(clock.left() / 2 / (seconds * each)))
    return pilots, int(max(least, (1 - MOST_CALIBRATING) * clock.budget / (seconds * replicas)))


def _batch_size(posterior: Posterior, n_beta: float, replicas: int, most: int) -> tuple[float, str]:
    n = posterior.examples
    # A minibatch of nβ examples heats the chain about as much as the finite step size does.
    about = min(n, max(64, 2 ** round(math.log2(n_beta))))
    whole = work(posterior, n)
    if whole * replicas * most <= WORK:
        return n, f"all {n} examples: the gradient is exact and affordable"
    if whole <= work(posterior, about):
        return n, f"all {n} examples: the gradient is exact and costs no more than that of {about}"
    return about, f"about nβ: all {n} examples for {replicas} replicas would take too long"


def _draws(pilot: Pilot, chains: int, burn_in: float, most: int, otherwise: str) -> tuple[float, str]:
    """Draws per chain: those that every pilot checkpoint needs by its effective draws, at most `most`."""
    excess = pilot.excess[0].numpy()  # (checkpoint, chain, draw)
    rate = rhat_and_ess(excess)[1] / (excess.shape[1] * excess.shape[2])  # effective draws per draw
    target = ERROR_TARGET * np.maximum(np.abs(excess.mean(axis=(1, 2))), SMALLEST_ESTIMATE)
    if not np.isfinite(excess.var(axis=(1, 2)) / rate).any():
        return most, otherwise
    for_error = np.nanmax(excess.var(axis=(1, 2)) / (target**2 * rate * chains))
    for_rhat = np.nanmax(FEWEST_EFFECTIVE / (rate * chains))
    draws, why = max(
        (for_error, f"a standard error of about {ERROR_TARGET:.1%} of the estimate"),
        (for_rhat, f"about {FEWEST_EFFECTIVE} effective draws of all chains"),
        # Fewer, and their virial, and what the loss feels of a flat direction, is that of one place in it.
        (burn_in / RELAXATION, "as many as steps in which a flat direction relaxes"),
        (FEWEST_DRAWS, "the fewest that are taken"),
    )
    return (int(draws), why) if draws < most else (most, otherwise)
