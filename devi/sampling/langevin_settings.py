"""Settings of sgld and psgld, from short walks at a few checkpoints.

    ε  = the largest step with  V − 1 ≤ 0.05  and  discretization share of λ̂ ≤ 0.1  at every checkpoint tried,
         V = E[(w − w*)·∇U]/d the virial, which for a chain in its stationary state is 1 + (ε/4)·E‖∇U‖²/d
    γ  = 5 / (ε·burn_in)                            a direction without curvature then relaxes as exp(−εγt), so that
                                                    e⁻⁵ of its start is left after burn-in; not below nβ/1000
    burn_in : draws = 1 : 3, and as many of them as WORK allows

So γ buys boundedness in flat directions at the price of a bias: a direction of curvature a in nβ·L adds
½·a/(a + γ) instead of ½. With few parameters there are thousands of steps, γ is nβ/1000 and a quadratic of
curvature 1 loses 0.1%; a network at hundreds of checkpoints has hundreds of steps, and directions with a < γ are left
out of its estimate. Whether they matter is tried: see `devi.sampling.resolution`.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from devi.sampling.choice import CHECK_WORK, FEW_REPLICAS, FEWEST_STEPS, WORK, Choice, Trial, work
from devi.sampling.diagnostics import rhat_and_ess
from devi.sampling.pilots import Pilot, Pilots
from devi.sampling.posterior import Posterior
from devi.sampling.resolution import SMALLEST_ESTIMATE, moves, reason
from devi.sampling.settings import Settings
from devi.sampling.step_size import (
    FEW_PARAMETERS,
    RELAXATION,
    chosen_localization,
    chosen_step_size,
    regular_localization,
)

NO_FLAT_DIRECTIONS = 0.15  # share of the directions that the localization may hold for all to count as held by the loss
HOLD = 0.002  # the share it is then brought down to
REHEARSAL = 1000  # steps of burn-in, and draws, at most
ERROR_TARGET = 0.015  # standard error as a share of the estimate, where that many draws can be afforded
FEWEST_EFFECTIVE = 400  # draws: fewer, and R-hat over many chains is noisy
MOST_STEPS, MOST_REPLICA_STEPS = 6000, 1.8e6
# Whether the estimate moves with γ or nβ is asked of so many chains at most, within CHECK_WORK or this share of all.
CHECK_CHAINS, CHECK_SHARE = 8, 0.1


def choose(choice: Choice, trial: Trial) -> Settings:
    """The settings, those that are in `choice` as they are."""
    posterior, kernel, seed = trial.posterior, trial.kernel, trial.seed
    n, n_beta = posterior.examples, choice["n_beta"]
    chains = int(choice("chains", lambda: (
        max(4, min(16, FEW_REPLICAS // trial.checkpoints)),
        "4 are enough for R-hat and an error between chains; up to 16 where checkpoints are few",
    )))  # fmt: skip
    replicas = chains * trial.checkpoints
    most = int(min(MOST_STEPS, MOST_REPLICA_STEPS / replicas))
    choice("batch_size", lambda: _batch_size(posterior, n_beta, replicas, most))
    choice["batch_size"] = batch_size = min(int(choice["batch_size"]) or n, n)
    affordable = WORK / (work(posterior, batch_size) * replicas)
    steps = int(max(FEWEST_STEPS, min(most, affordable)))
    step_size, localization = choice.get("step_size"), choice.get("localization")
    burn_in = int(choice("burn_in", lambda: (
        (math.ceil(RELAXATION / (step_size * localization)), "5 / (step size × localization)")
        if localization and step_size
        else (steps // 4, "a quarter of the steps")
    )))  # fmt: skip
    pilots = Pilots(posterior, trial.steps, kernel, n_beta, batch_size, seed)
    tried: list[dict[str, float]] = []
    if step_size is None:
        step_size, tried, choice.why["step_size"] = chosen_step_size(pilots, localization, trial.progress)
        choice["step_size"] = step_size
    some = max(4, min(burn_in, REHEARSAL))
    if localization is None:
        localization, choice.why["localization"] = chosen_localization(step_size, n_beta, burn_in)
        rehearsal = pilots.walk([(step_size, localization)], burn_in=min(burn_in, REHEARSAL), draws=some)
        hold = float(rehearsal.hold.max())
        regular = regular_localization(posterior, n_beta, HOLD)
        if posterior.dimension > FEW_PARAMETERS and hold < NO_FLAT_DIRECTIONS:
            regular = localization * HOLD / max(hold, HOLD)
        if regular is not None and regular < localization:
            localization = regular
            choice.why["localization"] = f"no flat directions: it takes about {HOLD:.1%} from an estimate of d/2"
        choice["localization"] = localization
    else:
        # What the draws are counted from; with their number given, only a step's time is wanted.
        some = 4 if "draws" in choice else some
        rehearsal = pilots.walk([(step_size, localization)], burn_in=0 if some == 4 else some, draws=some)
    most_draws = int(choice.get("draws", max(steps - burn_in, FEWEST_STEPS)))
    choice(
        "draws",
        lambda: _draws(rehearsal, chains, most_draws, f"what is left of {steps} steps, for {replicas} replicas"),
    )
    seconds = pilots.seconds / max(1, pilots.gradients)
    moved: dict[str, float] = {}
    if not choice.all_given:
        trial.tell(0.85)
        some, more = min(burn_in, REHEARSAL), min(int(choice["draws"]), REHEARSAL)
        allowed = max(CHECK_WORK / work(posterior, batch_size), CHECK_SHARE * replicas * (burn_in + choice["draws"]))
        many = int(np.clip(allowed / (3 * len(trial.steps) * (some + more)), pilots.chains, CHECK_CHAINS))
        pilots = dataclasses.replace(pilots, chains=many)
        moved = moves(pilots, step_size=step_size, localization=localization, burn_in=some, draws=more)
        choice.why["unresolved"] = reason(moved)
    return choice.settings(kernel, most_draws=most_draws, seconds_per_step=seconds, tried=tried, moves=moved)


def _batch_size(posterior: Posterior, n_beta: float, replicas: int, most: int) -> tuple[float, str]:
    n = posterior.examples
    if work(posterior, n) * replicas * most <= WORK:
        return n, f"all {n} examples: the gradient is exact and affordable"
    # A minibatch of nβ examples heats the chain about as much as the finite step size does.
    about = min(n, max(64, 2 ** round(math.log2(n_beta))))
    return about, f"about nβ: all {n} examples for {replicas} replicas would take too long"


def _draws(rehearsal: Pilot, chains: int, most: int, otherwise: str) -> tuple[float, str]:
    enough = _draws_for_error(rehearsal, chains)
    if enough < most:
        return max(enough, 200), f"a standard error of about {ERROR_TARGET:.0%} of the estimate"
    return most, otherwise


def _draws_for_error(rehearsal: Pilot, chains: int) -> int:
    """Draws per chain for a standard error of ERROR_TARGET at the worst pilot checkpoint, by its effective draws."""
    excess = rehearsal.excess[0].numpy()  # (checkpoint, chain, draw)
    effective = rhat_and_ess(excess)[1]
    rate = effective / (excess.shape[1] * excess.shape[2])  # effective draws per draw
    target = ERROR_TARGET * np.maximum(np.abs(excess.mean(axis=(1, 2))), SMALLEST_ESTIMATE)
    needed = excess.var(axis=(1, 2)) / (target**2 * rate * chains)
    needed = np.maximum(needed, FEWEST_EFFECTIVE / (rate * chains))
    return int(np.nanmax(needed)) if np.isfinite(needed).any() else MOST_STEPS
