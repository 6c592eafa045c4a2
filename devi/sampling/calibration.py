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
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from devi.errors import DeviError
from devi.sampling.diagnostics import rhat_and_ess
from devi.sampling.kernels import Kernel, kernel_named
from devi.sampling.pilots import RELAXATION, Pilot, Pilots, chosen_localization, chosen_step_size, regular_localization
from devi.sampling.posterior import Posterior
from devi.sampling.resolution import SMALLEST_ESTIMATE, moves, reason

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run

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
FEW_REPLICAS = 64  # a step of so few costs hardly more than a step of one, so chains are free


@dataclass(frozen=True)
class Settings:
    """Everything that `sample` needs to know, as plain JSON values, and why it was chosen."""

    sampler: str
    step_size: float  # ε
    n_beta: float  # nβ
    localization: float  # γ
    burn_in: int
    draws: int
    chains: int
    batch_size: int  # examples per gradient; the size of the training set means full batch
    seconds_per_step: float  # of one replica, as measured here: for progress, decides nothing
    reasons: dict[str, str] = field(default_factory=dict)  # setting -> why this value
    tried: list[dict[str, float]] = field(default_factory=list)  # one row per step size tried
    # training step -> share by which the estimate there moves with γ or nβ, see `moves`; empty: not looked at
    moves: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def calibrate(
    run: Run,
    *,
    sampler: str | Kernel = "sgld",
    chains: int | None = None,
    draws: int | None = None,
    burn_in: int | None = None,
    step_size: float | None = None,
    n_beta: float | None = None,
    localization: float | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    progress: Callable[[float], None] | None = None,
) -> Settings:
    """The settings for `run`: those given as they are, the others chosen; the same run and seed give the same ones.

    Raises DeviError for a given setting that is out of range.
    """
    kernel = kernel_named(sampler)
    check_settings(
        chains=chains,
        draws=draws,
        burn_in=burn_in,
        step_size=step_size,
        n_beta=n_beta,
        localization=localization,
        batch_size=batch_size,
    )
    why = {
        name: "given"
        for name, value in {
            "chains": chains,
            "draws": draws,
            "burn_in": burn_in,
            "step_size": step_size,
            "n_beta": n_beta,
            "localization": localization,
            "batch_size": batch_size,
        }.items()
        if value is not None
    }
    given = len(why)
    places = np.unique(np.linspace(0, len(run) - 1, PILOT_CHECKPOINTS).round().astype(int))
    posterior = Posterior(run.select(places), device=device, dtype=dtype)
    n = posterior.examples
    if n_beta is None:
        n_beta = n / max(math.log(n), 1.0)
        why["n_beta"] = f"n / log n with n = {n} training examples"
    if chains is None:
        chains = max(4, min(16, FEW_REPLICAS // len(run)))
        why["chains"] = "4 are enough for R-hat and an error between chains; up to 16 where checkpoints are few"
    replicas = chains * len(run)

    most = int(min(MOST_STEPS, MOST_REPLICA_STEPS / replicas))
    if batch_size is None:
        batch_size = n
        why["batch_size"] = f"all {n} examples: the gradient is exact and affordable"
        if _work(posterior, n) * replicas * most > WORK:
            # A minibatch of nβ examples heats the chain about as much as the finite step size does.
            batch_size = min(n, max(64, 2 ** round(math.log2(n_beta))))
            why["batch_size"] = f"about nβ: all {n} examples for {replicas} replicas would take too long"
    batch_size = min(batch_size or n, n)
    affordable = WORK / (_work(posterior, batch_size) * replicas)
    steps = int(max(FEWEST_STEPS, min(most, affordable)))
    if burn_in is None:
        burn_in = steps // 4
        if localization and step_size:
            burn_in = math.ceil(RELAXATION / (step_size * localization))
        why["burn_in"] = (
            "a quarter of the steps" if not (localization and step_size) else "5 / (step size × localization)"
        )
    pilots = Pilots(posterior, run.steps[places], kernel, n_beta, batch_size, seed)
    tried: list[dict[str, float]] = []
    if step_size is None:
        step_size, tried, why["step_size"] = chosen_step_size(pilots, localization, progress)
    if localization is None:
        localization, why["localization"] = chosen_localization(step_size, n_beta, burn_in)
        rehearsal = pilots.walk(
            [(step_size, localization)], burn_in=min(burn_in, REHEARSAL), draws=max(4, min(burn_in, REHEARSAL))
        )
        hold = float(rehearsal.hold.max())
        regular = regular_localization(posterior, n_beta, HOLD)
        if regular is None and hold < NO_FLAT_DIRECTIONS:
            regular = localization * HOLD / max(hold, HOLD)
        if regular is not None:
            localization = min(localization, regular)
            why["localization"] = f"no flat directions: it takes about {HOLD:.1%} from an estimate of d/2"
    else:
        # What the draws are counted from; with their number given, only a step's time is wanted.
        some = 4 if draws is not None else max(4, min(burn_in, REHEARSAL))
        rehearsal = pilots.walk([(step_size, localization)], burn_in=0 if some == 4 else some, draws=some)
    if draws is None:
        draws = max(steps - burn_in, FEWEST_STEPS)
        why["draws"] = f"what is left of {steps} steps, for {replicas} replicas"
        enough = _draws_for_error(rehearsal, chains)
        if enough < draws:
            draws = max(enough, 200)
            why["draws"] = f"a standard error of about {ERROR_TARGET:.0%} of the estimate"
    seconds = pilots.seconds / max(1, pilots.replica_steps)
    moved: dict[str, float] = {}
    if len(why) > given:
        if progress is not None:
            progress(0.85)
        some, more = min(burn_in, REHEARSAL), min(draws, REHEARSAL)
        allowed = max(CHECK_WORK / _work(posterior, batch_size), CHECK_SHARE * replicas * (burn_in + draws))
        many = int(np.clip(allowed / (3 * len(places) * (some + more)), pilots.chains, CHECK_CHAINS))
        pilots = dataclasses.replace(pilots, chains=many)
        moved = moves(pilots, step_size=step_size, localization=localization, burn_in=some, draws=more)
        why["unresolved"] = reason(moved)
    if progress is not None:
        progress(1.0)
    return Settings(
        sampler=kernel.name,
        step_size=float(step_size),
        n_beta=float(n_beta),
        localization=float(localization),
        burn_in=int(burn_in),
        draws=int(draws),
        chains=int(chains),
        batch_size=int(batch_size),
        seconds_per_step=seconds,
        reasons=why,
        tried=tried,
        moves=moved,
    )


def check_settings(**settings: float | None) -> None:
    """Raises DeviError for a setting out of range; None means not given."""
    least: dict[str, float] = {
        "chains": 1,
        "draws": 1,
        "burn_in": 0,
        "batch_size": 0,
        "localization": 0,
        "step_size": 0,
    }
    for name, value in settings.items():
        if value is None:
            continue
        if not math.isfinite(value) or value < least.get(name, 0) or (name == "n_beta" and value == 0):
            bound = "greater than 0" if name == "n_beta" else f"at least {least.get(name, 0)}"
            raise DeviError(f"{name} = {value} is out of range: it must be finite and {bound}; leave it out to have it"
                            " chosen from the run.")  # fmt: skip


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
    return batch_size * (posterior.dimension + OVERHEAD_PARAMETERS)
