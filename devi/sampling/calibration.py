"""Calibration: sampler settings for a whole run, chosen from short walks at a few of its checkpoints.

    nβ = n / log n                                  n the number of training examples (Lau et al. 2023)
    ε  = the largest step with  V − 1 ≤ 0.05  and  discretization share of λ̂ ≤ 0.1  at every checkpoint tried,
         V = E[(w − w*)·∇U]/d the virial, which for a chain in its stationary state is 1 + (ε/4)·E‖∇U‖²/d
    γ  = 3 / (ε·burn_in)                            a direction without curvature then relaxes as exp(−εγt), so that
                                                    e⁻³ of its start is left after burn-in; not below nβ/1000
    burn_in : draws = 1 : 2, and as many of them as WORK allows

So γ buys boundedness in flat directions at the price of a bias: a direction of curvature a in nβ·L adds
½·a/(a + γ) instead of ½. With few parameters there are thousands of steps, γ is nβ/1000 and a quadratic of
curvature 1 loses 0.1%; a network at hundreds of checkpoints has hundreds of steps, and directions with a < γ are left
out of its estimate. The same settings serve all checkpoints, so that the curve compares like with like.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from devi.errors import DeviError
from devi.sampling.kernels import Kernel, kernel_named
from devi.sampling.posterior import Posterior
from devi.sampling.walk import Walk, walk

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run

VIRIAL_TOLERANCE = 0.05
STEP_BIAS_TOLERANCE = 0.1  # of the estimate; it is subtracted, exactly so where the loss is quadratic
RELAXATION = 3.0  # e-foldings of burn-in in a flat direction
LEAST_LOCALIZATION = 1e-3  # of nβ: a curvature of 1 then loses 0.1% of its ½
PILOT_CHECKPOINTS = 5
PILOT_CHAINS = 2
PILOT_STEPS = 120
# Candidates for ε times the largest curvature of U at w*: 4 is where a quadratic blows up.
CANDIDATES = (2.0, 1.4, 1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.06, 0.03, 0.01)
# Work of all replicas together, in examples × (parameters + 500): what one processor core does in about a minute
# (the 500 stands for the cost per example that does not come from parameters; measured on the two built-in tasks).
WORK = 6e11
OVERHEAD_PARAMETERS = 500
MOST_REPLICA_STEPS = 1.5e6
FEWEST_STEPS, MOST_STEPS = 150, 9000


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
    pilots = np.unique(np.linspace(0, len(run) - 1, PILOT_CHECKPOINTS).round().astype(int))
    posterior = Posterior(run.select(pilots), device=device, dtype=dtype)
    n = posterior.examples
    if n_beta is None:
        n_beta = n / max(math.log(n), 1.0)
        why["n_beta"] = f"n / log n with n = {n} training examples"
    chains = 4 if chains is None else chains
    why.setdefault("chains", "4: enough for R-hat and an error between chains")
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
        burn_in = steps // 3
        if localization and step_size:
            burn_in = math.ceil(RELAXATION / (step_size * localization))
        why["burn_in"] = (
            "a third of the steps" if not (localization and step_size) else "3 / (step size × localization)"
        )
    if draws is None:
        draws = max(steps - burn_in, 2 * burn_in if steps == FEWEST_STEPS else 100)
        why["draws"] = f"what is left of {steps} steps, for {replicas} replicas"

    began, tried = time.perf_counter(), []
    pilot_replica_steps = 0
    if step_size is None:
        step_size, tried, why["step_size"], pilot_replica_steps = _step_size(
            posterior, run.steps[pilots], kernel, n_beta, localization, burn_in, batch_size, seed, progress
        )
    else:
        rows = torch.zeros(1, dtype=torch.long, device=posterior.device)
        once = torch.full((1, 1), float(step_size), dtype=dtype, device=posterior.device)
        walk(
            posterior, kernel, rows, [(0, 0)], step_size=once, n_beta=n_beta, localization=once * 0, burn_in=0,
            draws=4, batch_size=batch_size, seed=seed,
        )  # fmt: skip
        pilot_replica_steps = 4
    seconds = (time.perf_counter() - began) / pilot_replica_steps
    if localization is None:
        localization, why["localization"] = _localization(step_size, n_beta, burn_in)
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


def _step_size(
    posterior: Posterior,
    training_steps: np.ndarray,
    kernel: Kernel,
    n_beta: float,
    localization: float | None,
    burn_in: int,
    batch_size: int,
    seed: int,
    progress: Callable[[float], None] | None,
) -> tuple[float, list[dict[str, float]], str, int]:
    """The largest candidate that passes at every pilot checkpoint; the table of all; the reason; replica-steps spent."""
    checkpoints = len(posterior.centers)
    curvature = _curvature(posterior, seed)  # (checkpoint,)
    scale = float(curvature.max()) * n_beta
    candidates = torch.tensor(CANDIDATES, dtype=torch.float64) / scale
    # Every candidate at every pilot checkpoint, as replicas of one walk: (candidate, checkpoint, chain).
    sizes = candidates.repeat_interleave(checkpoints * PILOT_CHAINS).to(posterior.device)
    rows = torch.arange(checkpoints).repeat_interleave(PILOT_CHAINS).repeat(len(candidates)).to(posterior.device)
    keys = [(int(training_steps[row]), -1 - chain % PILOT_CHAINS) for chain, row in enumerate(rows.tolist())]
    half = PILOT_STEPS // 2
    pull = torch.tensor(
        [_localization(float(size), n_beta, half)[0] if localization is None else localization for size in sizes],
        dtype=torch.float64,
        device=posterior.device,
    )
    one = walk(
        posterior,
        kernel,
        rows,
        keys,
        step_size=sizes[:, None].to(posterior.dtype),
        n_beta=n_beta,
        localization=pull[:, None].to(posterior.dtype),
        burn_in=half,
        draws=PILOT_STEPS - half,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )
    shape = len(candidates), checkpoints, PILOT_CHAINS
    estimate = (n_beta * one.excess.mean(dim=1)).view(shape).mean(dim=2)
    force = squared_force(one, n_beta, pull).view(shape).mean(dim=2)  # (candidate, checkpoint)
    bias = step_bias(one, n_beta, pull, sizes).view(shape).mean(dim=2)
    heat = candidates[:, None].to(force) * force / (4 * posterior.dimension)  # V − 1 in the stationary state
    virial = measured_virial(one, n_beta, pull, posterior.dimension).view(shape).mean(dim=2)
    share = bias / estimate.abs().clamp_min(1.0)
    passes = (heat <= VIRIAL_TOLERANCE) & (share <= STEP_BIAS_TOLERANCE)
    worst = torch.where(passes.all(dim=1))[0]
    tried = [
        {
            "step_size": float(candidates[row]),
            "localization": float(pull.view(shape)[row, 0, 0]),
            "virial_excess": _largest(heat[row]),
            "virial": _largest(virial[row]),
            "step_bias_share": _largest(share[row]),
            "estimate_at_last": float(estimate[row, -1]),
            "passes": float(passes[row].all()),
        }
        for row in range(len(candidates))
    ]
    spent = PILOT_STEPS * len(rows)
    if len(worst) == 0:
        reason = (
            f"the smallest tried: at none does every one of {checkpoints} checkpoints keep V − 1 ≤ {VIRIAL_TOLERANCE};"
            " expect the flag 'virial'"
        )
        return float(candidates[-1]), tried, reason, spent
    reason = (
        f"the largest of {len(candidates)} with V − 1 ≤ {VIRIAL_TOLERANCE} and a share of discretization ≤"
        f" {STEP_BIAS_TOLERANCE} at {checkpoints} checkpoints"
    )
    return float(candidates[worst[0]]), tried, reason, spent


def _localization(step_size: float, n_beta: float, burn_in: int) -> tuple[float, str]:
    least = LEAST_LOCALIZATION * n_beta
    if step_size <= 0 or burn_in <= 0:
        return least, "nβ / 1000"
    relaxing = RELAXATION / (step_size * burn_in)
    if relaxing > least:
        return relaxing, "3 / (step size × burn-in): flat directions are in equilibrium after burn-in"
    return least, "nβ / 1000: a curvature of 1 loses 0.1% of its share"


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


def squared_force(one: Walk, n_beta: float, localization: Tensor) -> Tensor:
    """E‖∇U‖² of each replica, (replica,)."""
    mixed = one.loss_force.sum(dim=1)
    return n_beta**2 * one.force_force + 2 * n_beta * localization * mixed + localization**2 * one.distance


def measured_virial(one: Walk, n_beta: float, localization: Tensor, dimension: int) -> Tensor:
    """V = E[(w − w*)·∇U]/d of each replica, (replica,)."""
    return (n_beta * one.loss_force.sum(dim=1) + localization * one.distance) / dimension


def step_bias(one: Walk, n_beta: float, localization: Tensor, step_size: Tensor) -> Tensor:
    """What the finite step of sgld adds to nβ·E[L − L(w*)], (replica,):  (ε/8)·E[nβ∇L·∇U].

    For U = ½Σ h_i x_i², the stationary variance of sgld is 1/(h_i(1 − εh_i/4)), so with nβ·L = ½Σ a_i x_i² the mean
    is ½Σ a_i/(h_i(1 − εh_i/4)) and the term above is exactly its excess over ½Σ a_i/h_i, whatever the step size.
    """
    return step_size / 8 * n_beta * (n_beta * one.force_force + localization * one.loss_force.sum(dim=1))


def _work(posterior: Posterior, batch_size: int) -> float:
    return batch_size * (posterior.dimension + OVERHEAD_PARAMETERS)


def _largest(values: Tensor) -> float:
    """The value farthest from nothing, NaN if any is: the worst checkpoint speaks."""
    return float("nan") if values.isnan().any() else float(values.max())
