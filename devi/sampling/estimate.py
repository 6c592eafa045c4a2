"""Estimate: the local learning coefficient and its error from draws, chains that left the numbers left out.

λ̂ = nβ·(mean of L(w) over chains and draws − L(w*)),  less the bias of the step size, with control variates
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.special import expit, logit

from devi.sampling.diagnostics import rhat_and_ess, standard_error
from devi.sampling.stein import controlled

MOST_ERRORS = 3.0  # that the covariates' mean may be from 0, for the chains to count as in equilibrium
# Times that control variates may bring the error down. What they know holds as well on a part of the posterior that
# chains never leave, such as a normal crossing without its thinner arm: their own error says nothing of the rest.
MOST_QUIETER = 2.0
# Errors that they may move an estimate by whose finite step is already corrected for: further, and they are wrong about
# the step. On linear networks they stayed 10% high: 9.92, by the formula 9.08 ± 0.10, and λ = 9 (5-3-4 of rank 3).
MOST_APART = 4.0
UNCERTAIN = 0.25  # share of what is taken off for a finite step: exact where the loss is homogeneous, else a guess
# Share of what the formula for the step's bias and the control variates differ by: both are exact for a quadratic.
DISAGREEMENT = 0.5
UNEXPLORED = 0.2  # prior chance that chains have not gone along some direction, such as a polygon's rotation
FROM_UNEXPLORED = 0.5  # what control variates then add to the estimate for each, where they know their mean as 1
FEWEST_VISITS = 4
WORST_VIRIAL = 0.1  # error of the virial, above which it cannot tell equilibrium
EFFECTIVE_PER_COVARIATE = 20  # draws; with fewer, only the sum of the covariates is used


class Estimate(NamedTuple):
    """Each (step,). NaN where no chain stayed finite.

    llc   λ̂ as above;  error  its standard error;  raw  nβ·(mean L − L(w*)), nothing taken off
    bias  the step size's share of raw, were the loss a quadratic;  rhat, ess  of the loss along the chains
    gain  how many times the draws the control variates are worth; 1 where they were not used
    virial_off   distance of the virial from that of equilibrium, virial_error its error
    is_balanced  whether it is less than 3 of these
    """

    llc: np.ndarray
    error: np.ndarray
    raw: np.ndarray
    bias: np.ndarray
    rhat: np.ndarray
    ess: np.ndarray
    gain: np.ndarray
    virial_off: np.ndarray
    virial_error: np.ndarray
    is_balanced: np.ndarray


def estimate(draws: xr.Dataset) -> Estimate:
    """The estimate at each step of draws from `devi.sample`.

    Source: Lau et al. 2023, arXiv:2308.12108, definition of the estimator.
    """
    trace = n_beta_excess(draws)  # (step, chain, draw)
    bias, heat, covariates = (draws[name].values for name in ("step_bias", "heat", "stein"))
    visits = np.searchsorted(draws["draw"].values, draws["visit"].values)
    keep = finite_chains(draws)
    result = Estimate(*(np.full(len(trace), np.nan) for _ in Estimate._fields))
    result = result._replace(is_balanced=np.zeros(len(trace), dtype=bool))
    for pattern in np.unique(keep, axis=0):  # steps that keep the same chains, together
        if not pattern.any():
            continue
        rows = (keep == pattern).all(axis=1)
        chosen = (each[rows][:, pattern] for each in (trace, bias, heat, covariates))
        part = _estimate(*chosen, visits=visits, dimension=draws.attrs["dimension"])
        if not draws.attrs["is_adjusted"]:
            disagreement = part.raw - part.bias - part.llc  # of the two corrections
            doubt = np.fmax(UNCERTAIN * np.abs(part.raw - part.llc), DISAGREEMENT * np.abs(disagreement))
            part = part._replace(error=np.hypot(part.error, doubt))
        if not draws.attrs.get("has_exact_heat", 1):
            # What puts the virial off is then in nβ·L too: of a quadratic half of it, and no formula takes it off.
            doubt = np.where(part.is_balanced, 0.0, draws.attrs["dimension"] / 2 * part.virial_off)
            part = part._replace(error=np.hypot(part.error, doubt))
        for whole, some in zip(result, part, strict=True):
            whole[rows] = some
    return result


def n_beta_excess(draws: xr.Dataset) -> np.ndarray:
    """nβ·(L(w) − L(w*)) along the chains, (step, chain, draw)."""
    return draws.attrs["n_beta"] * (draws["loss"].values - draws["base_loss"].values[:, None, None])


def finite_chains(draws: xr.Dataset) -> np.ndarray:
    """Whether every number of a chain is finite, (step, chain)."""
    parts = ("loss", "step_bias", "heat", "stein")
    found = [np.isfinite(draws[name].values).reshape(*draws["loss"].shape[:2], -1).all(axis=2) for name in parts]
    return np.logical_and.reduce(found)


def _estimate(
    trace: np.ndarray,
    bias: np.ndarray,
    heat: np.ndarray,
    covariates: np.ndarray,
    *,
    visits: np.ndarray,
    dimension: int,
) -> Estimate:
    rhat, ess = rhat_and_ess(trace)
    mean_bias = bias.mean(axis=2)  # (step, chain)
    corrected = trace - mean_bias[:, :, None]
    # The correction is an estimate too: it can add to what the chains differ by as well as take from it.
    error = np.fmax(standard_error(trace, ess), standard_error(corrected, ess))
    llc, gain = corrected.mean(axis=(1, 2)), np.ones(len(trace))
    seen = trace[:, :, visits]
    beyond = covariates.sum(axis=3) / dimension - heat  # V − 1 along the chains, less what the finite step adds
    enough = beyond.shape[2] >= FEWEST_VISITS
    virial_error = standard_error(beyond, rhat_and_ess(beyond)[1]) if enough else np.full(len(beyond), np.inf)
    off = np.abs(beyond.mean(axis=(1, 2)))
    is_balanced = enough & (off <= MOST_ERRORS * virial_error)
    for row in np.flatnonzero(is_balanced & (virial_error <= WORST_VIRIAL)):
        found = covariates[row]
        if ess[row] < EFFECTIVE_PER_COVARIATE * found.shape[2]:
            found = found.sum(axis=2, keepdims=True)
        quiet = controlled(seen[row], found)[None]
        moved = abs(quiet.mean() - llc[row])
        own = max(standard_error(quiet, rhat_and_ess(quiet)[1])[0], error[row] / MOST_QUIETER)
        chance = unexplored(dimension * beyond[row].mean(), dimension * virial_error[row])
        own = np.hypot(own, math.sqrt(chance) * max(FROM_UNEXPLORED, moved))
        if own < error[row] and moved <= MOST_APART * error[row]:
            gain[row] = (error[row] / own) ** 2
            llc[row], error[row] = quiet.mean(), own
    bias = mean_bias.mean(axis=1)
    return Estimate(llc, error, trace.mean(axis=(1, 2)), bias, rhat, ess, gain, off, virial_error, is_balanced)


def unexplored(excess: float, error: float) -> float:
    """The chance that chains have not gone along a direction, given the virial (of d) less d, and its error.

    Such a direction takes 1 from the virial, which may be too little to be seen, and nothing from nβ·L.
    """
    evidence = -(excess + 0.5) / max(error, 1e-9) ** 2  # log-likelihood of a mean of −1 less that of 0
    return float(expit(evidence + logit(UNEXPLORED)))
