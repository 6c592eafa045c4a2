"""Settings of hmc and mala: nβ and γ by `devi.sampling.climb`, the step size adapted in burn-in by each chain.

Where nβ is given nothing is climbed, and it is only asked whether the estimate stays at half γ and at twice both.

γ to start from = Σw² / Σw⁴    directions without curvature move by as much as the weights are large
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from devi.errors import DeviError
from devi.sampling.budget import FEWEST_STEPS as SHORTEST
from devi.sampling.choice import CHECK_WORK, FEW_REPLICAS, FEWEST_STEPS, WORK, Choice, Trial, work
from devi.sampling.climb import NEARER, SHARPER, climb, stayed
from devi.sampling.curvature import curvatures, gradients_of
from devi.sampling.hamiltonian import with_length
from devi.sampling.langevin import sgld
from devi.sampling.pilots import Pilots
from devi.sampling.posterior import Posterior
from devi.sampling.resolution import fallen_short, reason
from devi.sampling.rungs import BURN_IN, DRAWS, MOST_DRAWS, Rungs
from devi.sampling.rungs import CHAINS as RUNG_CHAINS
from devi.sampling.settings import GIVEN, Settings
from devi.sampling.step_size import at_steepest, within_memory

MOST_STEPS = 4000
FIRST_DRAWS = 200
FEWEST_CHAINS = 2  # of a rung
SMALLEST_FOURTH = 1e-12


def choose(choice: Choice, trial: Trial) -> Settings:
    """The settings, those that are in `choice` as they are. Raises DeviError for a minibatch."""
    posterior, kernel = trial.posterior, trial.kernel
    n, climbs = posterior.examples, choice.why["n_beta"] != GIVEN
    if choice.get("batch_size", n) not in (0, n):
        raise DeviError(
            f"batch_size = {choice['batch_size']:g}: {kernel.name} accepts or rejects by the loss of all {n} examples;"
            " leave the batch size out, or take --sampler sgld."
        )
    choice("batch_size", lambda: (n, "all examples: proposals are accepted by the whole loss"))
    choice["batch_size"] = n
    choice("localization", lambda: _weight_scale(posterior))
    choice(
        "step_size", lambda: (0.5, f"adapted in burn-in to the acceptance that suits {kernel.name}, each chain its own")
    )
    many = max(4, min(16, FEW_REPLICAS // trial.checkpoints))
    replicas = trial.checkpoints * int(choice("chains", lambda: (many, "up to 16 where checkpoints are few")))
    each = work(posterior, n) * kernel.gradients_per_step
    most = int(np.clip(WORK / (each * replicas), FEWEST_STEPS, MOST_STEPS))
    learning = int(np.clip(most // 3, FEWEST_STEPS // 2, BURN_IN))
    burn_in = int(choice("burn_in", lambda: (learning, "enough for the widths and the step size to be learnt")))
    most_draws = int(choice.get("draws", max(most - burn_in, FEWEST_STEPS)))
    choice("draws", lambda: (min(FIRST_DRAWS, most_draws), "doubled until the error is small enough"))
    start = choice.settings(kernel, most_draws=DRAWS)
    pilots, fewer = within_memory(Pilots(posterior, trial.steps, sgld, choice["n_beta"], n, trial.seed), FEWEST_CHAINS)
    few = CHECK_WORK * 4 / (each * len(pilots.steps) * (BURN_IN + DRAWS))
    if trial.clock.is_set:
        pilots, few = _in_time(choice, trial, pilots, replicas)
    posterior, steps = pilots.posterior, pilots.steps
    few = min(few, pilots.at_once / len(steps))
    pilot = dataclasses.replace(
        start, chains=int(np.clip(few, FEWEST_CHAINS, RUNG_CHAINS)), burn_in=BURN_IN, draws=DRAWS, most_draws=MOST_DRAWS
    )
    began = time.perf_counter()
    rungs = Rungs(posterior, steps, kernel, seed=trial.seed, progress=trial.progress, is_late=trial.clock.is_late)
    known = curvatures(posterior)
    found = climb(rungs, pilot, known) if climbs else stayed(rungs, pilot)
    moved = fallen_short(found.moves, posterior, steps, known, found.reached)
    choice.why["calibration"] = f"{rungs.gradients:,} gradients{fewer}"
    gradients = with_length(kernel, found.settings.leapfrog_steps).gradients_per_step
    seconds = (time.perf_counter() - began) / rungs.gradients * gradients  # of a trajectory as long as those to come
    if climbs:
        choice["n_beta"] = found.settings.n_beta
        choice.why["n_beta"] += f", {found.reason}"
        choice.why["unresolved"] = reason(moved, tried=f"at {SHARPER:g} nβ and {NEARER:g} times the localization")
    else:
        choice.why["unresolved"] = reason(moved)
    if found.settings.localization != choice["localization"]:
        choice["localization"] = found.settings.localization
        choice.why["localization"] += "; raised so that chains stay in the checkpoint's own surroundings"
    if choice.why["step_size"] != GIVEN:
        choice["step_size"] = found.settings.step_size
    return choice.settings(
        kernel,
        most_draws=most_draws,
        leapfrog_steps=found.settings.leapfrog_steps,
        seconds_per_step=seconds,
        tried=rungs.tried,
        moves=moved,
        drift=found.drift,
    )


def _in_time(choice: Choice, trial: Trial, pilots: Pilots, replicas: int) -> tuple[Pilots, float]:
    """Where rungs are tried, and with how many chains, for one to take an eighth of the time that there is.

    Later ones have trajectories up to three times as long.

    Raises DeviError where there is none for two of the shortest.
    """
    each = (BURN_IN + DRAWS) * trial.kernel.gradients_per_step
    seconds = pilots.timed(RUNG_CHAINS // pilots.chains, most=trial.clock.left() / 10)
    least = replicas * (choice["burn_in"] * (choice.why["burn_in"] == GIVEN) + SHORTEST)
    curved = gradients_of(trial.posterior.dimension)
    calibration, sampling = 2 * FEWEST_CHAINS * each + curved, least * trial.kernel.gradients_per_step
    trial.clock.check(seconds, calibration=calibration, sampling=sampling)
    affordable = trial.clock.left() / 8 / (seconds * (each + curved))
    pilots = at_steepest(pilots, int(affordable / FEWEST_CHAINS))
    return pilots, affordable / len(pilots.steps)


def _weight_scale(posterior: Posterior) -> tuple[float, str]:
    """γ that lets a direction without curvature go as far as the weights are large: Σw² / Σw⁴, whatever part is 0."""
    weights = posterior.centers.double()
    fourth = float(weights.pow(4).sum())
    if fourth < SMALLEST_FOURTH:
        return 1.0, "1: the weights are 0, so nothing tells their scale"
    scale = float(weights.square().sum()) / fourth
    return scale, "Σw² / Σw⁴: directions without curvature move by as much as the weights are large"
