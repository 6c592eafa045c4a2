"""Calibration: sampler settings for a whole run, chosen from short walks at a few of its checkpoints.

    nβ = n / log n                                  n the number of training examples (Lau et al. 2023)
    ε  = the largest step with  V − 1 ≤ 0.05  and  discretization share of λ̂ ≤ 0.1  at every checkpoint tried,
         V = E[(w − w*)·∇U]/d the virial, which for a chain in its stationary state is 1 + (ε/4)·E‖∇U‖²/d
    γ  = 5 / (ε·burn_in)                            a direction without curvature then relaxes as exp(−εγt), so that
                                                    e⁻⁵ of its start is left after burn-in; not below nβ/1000
    burn_in : draws = 1 : 3, and as many of them as WORK allows

So γ buys boundedness in flat directions at the price of a bias: a direction of curvature a in nβ·L adds
½·a/(a + γ) instead of ½. With few parameters there are thousands of steps, γ is nβ/1000 and a quadratic of
curvature 1 loses 0.1%; a network at hundreds of checkpoints has hundreds of steps, and directions with a < γ are left
out of its estimate. Whether they matter is tried: see `devi.sampling.resolution`. The same settings serve all
checkpoints, so that the curve compares like with like.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from devi.errors import DeviError
from devi.sampling.climb import BURN_IN, DRAWS, climb
from devi.sampling.climb import CHAINS as CLIMB_CHAINS
from devi.sampling.data_sets import described
from devi.sampling.diagnostics import rhat_and_ess
from devi.sampling.kernels import Kernel
from devi.sampling.pilots import Pilot, Pilots
from devi.sampling.posterior import Posterior
from devi.sampling.resolution import SMALLEST_ESTIMATE, moves, reason
from devi.sampling.samplers import kernel_named
from devi.sampling.settings import CHOSEN, GIVEN, Settings, check_settings
from devi.sampling.step_size import RELAXATION, chosen_localization, chosen_step_size, regular_localization

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run

Progress = Callable[[float], None] | None

NO_FLAT_DIRECTIONS = 0.15  # share of the directions that the localization may hold for all to count as held by the loss
HOLD = 0.002  # the share it is then brought down to
REHEARSAL = 1000  # steps of burn-in, and draws, at most
ERROR_TARGET = 0.015  # standard error as a share of the estimate, where that many draws can be afforded
FEWEST_EFFECTIVE = 400  # draws: fewer, and R-hat over many chains is noisy
PILOT_CHECKPOINTS = 5
# Work of all replicas together, in examples × (parameters + 500): what one processor core does in about a minute
# (the 500 stands for the cost per example that does not come from parameters; measured on the two built-in tasks).
WORK = 5e11
OVERHEAD_PARAMETERS = 500
MOST_REPLICA_STEPS = 1.8e6
# Whether the estimate moves with γ or nβ is asked of so many chains at most, within this work or share of the whole.
CHECK_CHAINS, CHECK_WORK, CHECK_SHARE = 8, WORK / 20, 0.1
FEWEST_STEPS, MOST_STEPS = 150, 6000
MOST_ADJUSTED_STEPS = 4000
ADJUSTED_DRAWS = 400
SMALLEST_FOURTH = 1e-12
FEW_REPLICAS = 64  # a step of so few costs hardly more than a step of one, so chains are free


def calibrate(
    run: Run,
    *,
    sampler: str | Kernel = "sgld",
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    restriction: str = "",
    sample_on: str = "train",
    progress: Progress = None,
    **given: Any,
) -> Settings:
    """The settings for `run`: those given as they are, the others chosen; the same run and seed give the same ones.

    given  values for names in `devi.sampling.settings.CHOSEN`; None is as if not given
    Raises DeviError for a given setting that is out of range.
    """
    kernel = kernel_named(sampler)
    check_settings(given)
    places = np.unique(np.linspace(0, len(run) - 1, PILOT_CHECKPOINTS).round().astype(int))
    posterior = Posterior(run.select(places), device=device, dtype=dtype, restriction=restriction, sample_on=sample_on)
    choice = Choice(given)
    n = posterior.examples
    choice("n_beta", lambda: (n / max(math.log(n), 1.0), f"n / log n with n = {described(sample_on, n)}"))
    choose = _for_adjusted if kernel.is_adjusted else _for_langevin
    settings = choose(choice, posterior, run, places, kernel, seed, progress)
    if progress is not None:
        progress(1.0)
    return settings


class Choice(dict[str, float]):
    """The settings so far, and why each."""

    def __init__(self, given: Mapping[str, float | None]) -> None:
        super().__init__({name: value for name, value in given.items() if value is not None})
        self.why = dict.fromkeys(self, GIVEN)
        self.all_given = len(self) == len(CHOSEN)

    def __call__(self, name: str, choose: Callable[[], tuple[float, str]]) -> float:
        """The value of a setting: the one given, or what `choose` gives with its reason."""
        if name not in self:
            self[name], self.why[name] = choose()
        return self[name]

    def settings(self, kernel: Kernel, **more: Any) -> Settings:
        return Settings(
            sampler=kernel.name,
            step_size=float(self["step_size"]),
            n_beta=float(self["n_beta"]),
            localization=float(self["localization"]),
            burn_in=int(self["burn_in"]),
            draws=int(self["draws"]),
            chains=int(self["chains"]),
            batch_size=int(self["batch_size"]),
            reasons=self.why,
            **more,
        )


def _for_langevin(
    choice: Choice,
    posterior: Posterior,
    run: Run,
    places: np.ndarray,
    kernel: Kernel,
    seed: int,
    progress: Progress,
) -> Settings:
    """What is left to choose for sgld and psgld."""
    n, n_beta = posterior.examples, choice["n_beta"]
    chains = int(choice("chains", lambda: (
        max(4, min(16, FEW_REPLICAS // len(run))),
        "4 are enough for R-hat and an error between chains; up to 16 where checkpoints are few",
    )))  # fmt: skip
    replicas = chains * len(run)
    most = int(min(MOST_STEPS, MOST_REPLICA_STEPS / replicas))
    choice("batch_size", lambda: _batch_size(posterior, n_beta, replicas, most))
    choice["batch_size"] = batch_size = min(int(choice["batch_size"]) or n, n)
    affordable = WORK / (_work(posterior, batch_size) * replicas)
    steps = int(max(FEWEST_STEPS, min(most, affordable)))
    step_size, localization = choice.get("step_size"), choice.get("localization")
    burn_in = int(choice("burn_in", lambda: (
        (math.ceil(RELAXATION / (step_size * localization)), "5 / (step size × localization)")
        if localization and step_size
        else (steps // 4, "a quarter of the steps")
    )))  # fmt: skip
    pilots = Pilots(posterior, run.steps[places], kernel, n_beta, batch_size, seed)
    tried: list[dict[str, float]] = []
    if step_size is None:
        step_size, tried, choice.why["step_size"] = chosen_step_size(pilots, localization, progress)
        choice["step_size"] = step_size
    some = max(4, min(burn_in, REHEARSAL))
    if localization is None:
        localization, choice.why["localization"] = chosen_localization(step_size, n_beta, burn_in)
        rehearsal = pilots.walk([(step_size, localization)], burn_in=min(burn_in, REHEARSAL), draws=some)
        hold = float(rehearsal.hold.max())
        regular = regular_localization(posterior, n_beta, HOLD)
        if regular is None and hold < NO_FLAT_DIRECTIONS:
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
        if progress is not None:
            progress(0.85)
        some, more = min(burn_in, REHEARSAL), min(int(choice["draws"]), REHEARSAL)
        allowed = max(CHECK_WORK / _work(posterior, batch_size), CHECK_SHARE * replicas * (burn_in + choice["draws"]))
        many = int(np.clip(allowed / (3 * len(places) * (some + more)), pilots.chains, CHECK_CHAINS))
        pilots = dataclasses.replace(pilots, chains=many)
        moved = moves(pilots, step_size=step_size, localization=localization, burn_in=some, draws=more)
        choice.why["unresolved"] = reason(moved)
    return choice.settings(kernel, most_draws=most_draws, seconds_per_step=seconds, tried=tried, moves=moved)


def _for_adjusted(
    choice: Choice,
    posterior: Posterior,
    run: Run,
    places: np.ndarray,
    kernel: Kernel,
    seed: int,
    progress: Progress,
) -> Settings:
    """What is left to choose for hmc and mala."""
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
    chains = int(
        choice("chains", lambda: (max(4, min(16, FEW_REPLICAS // len(run))), "up to 16 where checkpoints are few"))
    )
    replicas = chains * len(run)
    work = _work(posterior, n) * kernel.gradients_per_step
    most = int(np.clip(WORK / (work * replicas), FEWEST_STEPS, MOST_ADJUSTED_STEPS))
    burn_in = int(choice("burn_in", lambda: (
        int(np.clip(most // 3, FEWEST_STEPS // 2, BURN_IN)), "enough for the widths and the step size to be learnt"
    )))  # fmt: skip
    most_draws = int(choice.get("draws", max(most - burn_in, FEWEST_STEPS)))
    choice("draws", lambda: (min(ADJUSTED_DRAWS, most_draws), "doubled until the error is small enough"))
    start = choice.settings(kernel, most_draws=DRAWS)
    few = CHECK_WORK * 4 / (work * len(places) * (BURN_IN + DRAWS))
    pilot = dataclasses.replace(
        start, chains=int(np.clip(few, 2, CLIMB_CHAINS)), burn_in=BURN_IN, draws=DRAWS, most_draws=DRAWS
    )
    began = time.perf_counter()
    found = climb(posterior, run.steps[places], kernel, pilot, climbs=climbs, seed=seed, progress=progress)
    seconds = (time.perf_counter() - began) / (len(found.tried) * len(places) * pilot.chains * (BURN_IN + DRAWS))
    if climbs:
        choice["n_beta"] = found.settings.n_beta
        choice.why["n_beta"] += f", {found.reason}"
        choice.why["unresolved"] = reason(found.moves)
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
        tried=found.tried,
        moves=found.moves,
        drift=found.drift,
    )


def _weight_scale(posterior: Posterior) -> tuple[float, str]:
    """γ that lets a direction without curvature go as far as the weights are large: Σw² / Σw⁴, whatever part is 0."""
    weights = posterior.centers.double()
    fourth = float(weights.pow(4).sum())
    if fourth < SMALLEST_FOURTH:
        return 1.0, "1: the weights are 0, so nothing tells their scale"
    scale = float(weights.square().sum()) / fourth
    return scale, "Σw² / Σw⁴: directions without curvature move by as much as the weights are large"


def _batch_size(posterior: Posterior, n_beta: float, replicas: int, most: int) -> tuple[float, str]:
    n = posterior.examples
    if _work(posterior, n) * replicas * most <= WORK:
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


def _work(posterior: Posterior, batch_size: int) -> float:
    return batch_size * (posterior.weight_count + OVERHEAD_PARAMETERS)
