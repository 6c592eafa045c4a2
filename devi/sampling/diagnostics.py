"""Diagnostics: whether the chains at a checkpoint can be trusted, as numbers and as flags.

V     = E[(w − w*)·∇U]/d             virial: 1 in equilibrium
R-hat, ESS                           split, rank-normalized: Vehtari et al. 2021, arXiv:1903.08008
D     = nβ·(L(w*) − L(w_descended))  headroom: how far below the checkpoint the loss goes nearby
"""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from devi.sampling.mixing import effective_draws, rank_rhat
from devi.sampling.posterior import Posterior

# Flag -> what it means and what to do. The words are part of the file format.
FLAG_MEANINGS: dict[str, str] = {
    "headroom": "The checkpoint is not at a minimum of the loss: descending from it gains more than 5% of the estimate,"
    " or of 0.25 where that is more. The estimate is lowered by up to llc_headroom, and may be negative. During"
    " training this is information, not an error; read llc + llc_headroom beside it.",
    "virial": "The chains are not in equilibrium: the virial is more than 0.10 away from 1. Above 1: take a smaller"
    " --step-size. Below 1: take more --burn-in, or a larger --localization.",
    "rhat": "The chains disagree (R-hat above 1.1): take more --draws and --burn-in.",
    "ess": "Fewer than 25 effective draws, so the error itself is uncertain: take more --draws.",
    "negative": "The estimate is below 0 by more than 2 of its errors: the chains found lower losses than the"
    " checkpoint's. Look at the headroom.",
    "escape": "More than half of the draws have a lower loss than the checkpoint: the chains sample another place."
    " Take a larger --localization.",
    "non_finite": "A chain left the numbers (NaN or infinity) and is left out of the estimate; if all did, there is"
    " none: take a smaller --step-size.",
    "unresolved": "At the nearest checkpoint where it was tried, the estimate still moves by more than 4% when the"
    " localization is halved or nβ doubled, or may move by more than 10% for all that the draws tell; or it is more"
    " than 10% below half of the Hessian's rank, which no coefficient is, or the loss has a rise that its chains do"
    " not reach: it depends on the settings, as in networks with many nearly flat directions. Compare its course"
    " rather than its value, or take --sampler hmc, or more --draws and --burn-in with a smaller --localization, or"
    " a larger --n-beta, until it stays.",
    "one_chain": "There is one chain, so there is no R-hat and no error between chains: take --chains 4.",
}
INFORMATION = frozenset({"headroom", "unresolved"})  # about the checkpoint or the settings; the chains are sound
VIRIAL_TOLERANCE = 0.10  # found every one of 37 bad runs out of 68, those with R-hat 1.00 included
RHAT_TOLERANCE = 1.1
FEWEST_EFFECTIVE_DRAWS = 25  # the error is then itself known to about 1/√(2·25) = 14%
SMALLEST_ESTIMATE = 0.25  # a coefficient as small as any that is common
HEADROOM_SHARE = 0.05  # of the estimate, or of the smallest
DESCENT_ROUNDS = 30
DESCENT_MEMORY = 10  # rounds whose losses a step may rise to: the lengths need that (Raydan 1997, section 4)
DESCENT_GROWTH = 4.0
PUSH = 0.1


def descended_loss(posterior: Posterior, *, step: float, n_beta: float, memory_bytes: int | None = None) -> np.ndarray:
    """The lowest loss met on a short descent from every checkpoint, (checkpoint,), all checkpoints at once.

    30 rounds of gradient descent on L_n with Barzilai-Borwein step lengths, each checkpoint its own, started with
    `step` (in w per gradient of L: half of ε·nβ, which the sampler is stable at), or with the least that floating-point
    numbers show where that is longer. Along a curvature that is not positive, or that they do not show, the length
    grows 4-fold; from a loss above the last 10 the replica goes back and takes a quarter of it.
    At the top of a saddle no gradient leads down: each begins a push to the side of its checkpoint, a tenth of the
    width that nβ leaves a chain in a direction of curvature 1/step.
    It is a cheap stand-in for L-BFGS to convergence: what it finds is there, so the headroom is a lower bound. Both
    ends are compared in float64, or n_beta times the rounding of a loss would look like one.
    Barzilai & Borwein 1988, eq. 5; Raydan 1997 (when to go back).
    """
    at_once = posterior.replicas_at_once(posterior.examples, memory_bytes)
    centers, parts = posterior.centers, []
    aside = torch.randn(centers.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    push = (PUSH * math.sqrt(step / n_beta) * aside).to(centers)  # the same for all: it knows no other checkpoint
    for start in range(0, len(posterior.centers), at_once):
        rows = torch.arange(start, min(start + at_once, len(posterior.centers)), device=posterior.device)
        fixed = posterior.fixed_at(rows)
        first, _ = posterior.loss_and_gradient(centers[rows], fixed, posterior.data)
        position = centers[rows] + push
        loss, gradient = posterior.loss_and_gradient(position, fixed, posterior.data)
        shown = _largest(position) / _largest(gradient) * torch.finfo(posterior.dtype).eps
        length = torch.where(shown.isfinite(), shown, 0.0).clamp_min(step)  # a gradient of 0 leads nowhere
        best = torch.where((loss < first)[:, None], position, centers[rows])
        lowest = torch.fmin(first, loss)
        recent = torch.fmax(first, loss).repeat(DESCENT_MEMORY, 1)  # (round, replica)
        for number in range(DESCENT_ROUNDS):
            move = -length * gradient
            there = position + move
            loss_there, gradient_there = posterior.loss_and_gradient(there, fixed, posterior.data)
            # A step that left the numbers compares as False, and is gone back from as well.
            is_taken = loss_there <= recent.amax(dim=0)
            best = torch.where((is_taken & (loss_there < lowest))[:, None], there, best)
            lowest = torch.where(is_taken, torch.minimum(lowest, loss_there), lowest)
            curvature = (move * (gradient_there - gradient)).sum(dim=1, keepdim=True)
            secant = move.square().sum(dim=1, keepdim=True) / curvature
            falls = (loss_there < loss)[:, None] | (gradient_there == gradient).all(dim=1, keepdim=True)
            onward = torch.where(falls, DESCENT_GROWTH * length, length)
            onward = torch.where((curvature > 0) & secant.isfinite(), secant, onward)
            taken = is_taken[:, None]
            length = torch.where(taken, onward, length / DESCENT_GROWTH)
            position = torch.where(taken, there, position)
            gradient = torch.where(taken, gradient_there, gradient)
            loss = torch.where(is_taken, loss_there, loss)
            recent[number % DESCENT_MEMORY] = loss
        parts.append(best)
    gained = posterior.exact_loss(centers) - posterior.exact_loss(torch.cat(parts))
    return (posterior.base_loss - gained.clamp_min(0)).cpu().numpy()


def _largest(values: Tensor) -> Tensor:
    """Of each replica, (replica, 1); a norm would leave the numbers before they do."""
    return values.abs().amax(dim=1, keepdim=True)


def rhat_and_ess(trace: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R-hat and effective draws (of all chains together) of a trace (step, chain, draw), each (step,).

    NaN where they are not defined: fewer than 2 chains (R-hat), fewer than 4 draws, a trace that never moves.
    """
    steps, chains, draws = trace.shape
    rhat, ess = np.full(steps, np.nan), np.full(steps, np.nan)
    usable = np.isfinite(trace).all(axis=(1, 2)) & (trace.max(axis=(1, 2)) > trace.min(axis=(1, 2)))
    if draws < 4 or not usable.any():
        return rhat, ess
    ess[usable] = effective_draws(trace[usable])
    if chains > 1:
        rhat[usable] = rank_rhat(trace[usable])
    return rhat, ess


def standard_error(trace: np.ndarray, ess: np.ndarray) -> np.ndarray:
    """Error of the mean of a trace (step, chain, draw), (step,): the largest of three that each miss something.

    within   sd / √ESS                          misses chains that sit in different places
    between  sd of the chains' means / √chains  misses what all chains share, and has few degrees of freedom
    shared   the same as `within` for the mean over chains: minibatches are common to all chains
    """
    _, chains, _ = trace.shape
    spread = trace.std(axis=(1, 2), ddof=1)
    # A trace that never moves has no effective draws and no error.
    within = np.where(spread > 0, spread / np.sqrt(ess), 0.0)
    together = trace.mean(axis=1, keepdims=True)
    _, ess_together = rhat_and_ess(together)
    spread_together = together.std(axis=(1, 2), ddof=1)
    shared = np.where(spread_together > 0, spread_together / np.sqrt(ess_together), 0.0)
    between = trace.mean(axis=2).std(axis=1, ddof=1) / np.sqrt(chains) if chains > 1 else np.zeros(len(trace))
    return np.fmax(np.fmax(within, shared), between)


def has_headroom(headroom: np.ndarray, llc: np.ndarray) -> np.ndarray:
    """Whether a checkpoint is not at a minimum, (step,): the descent gained more than a share of its estimate."""
    return np.asarray(headroom > HEADROOM_SHARE * np.fmax(llc, SMALLEST_ESTIMATE))


def flags(draws: xr.Dataset, estimates: xr.Dataset, *, unresolved: np.ndarray | None = None) -> list[str]:
    """The words of FLAG_MEANINGS that hold at each step, comma-separated, empty when healthy.

    draws      from `sample`
    estimates  llc, llc_se, llc_virial, llc_rhat, llc_ess, llc_headroom (step,)
    unresolved  (step,) bool, see `devi.sampling.resolution`; None: not looked at
    """
    llc, error = estimates["llc"].values, estimates["llc_se"].values
    below = (draws["loss"] < draws["base_loss"]).mean(dim=("chain", "draw")).values
    is_finite = np.isfinite(draws["loss"].values).all(axis=(1, 2))
    still = draws["loss"].values.max(axis=(1, 2)) == draws["loss"].values.min(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        holds = {
            "non_finite": ~is_finite,
            "negative": llc < -2 * error,
            "headroom": has_headroom(estimates["llc_headroom"].values, llc),
            "virial": is_finite & ~(np.abs(estimates["llc_virial"].values - 1) <= VIRIAL_TOLERANCE),
            "rhat": estimates["llc_rhat"].values > RHAT_TOLERANCE,
            "ess": is_finite & ~still & ~(estimates["llc_ess"].values >= FEWEST_EFFECTIVE_DRAWS),
            "escape": below > 0.5,
            "unresolved": np.zeros(len(llc), dtype=bool) if unresolved is None else unresolved,
            "one_chain": np.full(len(llc), draws.sizes["chain"] == 1),
        }
    return [",".join(word for word, here in holds.items() if here[step]) for step in range(len(llc))]


def non_finite(draws: xr.Dataset) -> list[str]:
    """Where each chain first left the numbers: one line per chain, naming step, chain, draw and step size."""
    lines = []
    bad = ~np.isfinite(draws["loss"].values)
    for row, chain in zip(*np.where(bad.any(axis=2)), strict=True):
        draw = int(bad[row, chain].argmax())
        lines.append(
            f"step {int(draws['step'][row])}, chain {chain}: the loss is not finite from draw {draw} on"
            f" (step_size {draws.attrs['step_size']:g})"
        )
    return lines
