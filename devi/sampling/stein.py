"""Stein: what is known of the draws beforehand, and what a finite step adds to them.

In equilibrium, with F = ∇U, for every group g of d_g parameters,

    E[(w − w*)_g · F_g] = d_g                               exactly, for what is to be drawn from
    E[(w − w*)_g · F_g] = d_g + (ε/4)·E Σ m·F²              for what sgld draws from: E‖w'‖² = E‖w‖² of its step

The second tells whether chains are in equilibrium (`heat`). The first makes control variates (w − w*)_g·F_g − d_g:
subtracting the regression of nβ·L on them takes out most of the noise, and what a finite step adds with it, since a
loss that is homogeneous of any degree is proportional to (w − w*)·F. On a quadratic all of both. What chains have not
explored, such as the rotation of a polygon, has no d in their mean: `devi.sampling.estimate` asks for that.
Sources: Oates, Girolami & Chopin 2017, arXiv:1410.2392 (control variates from Stein's identity).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from devi.sampling.record import Walk


def force_offset(one: Walk, n_beta: float, localization: Tensor) -> Tensor:
    """(w − w*)_g·F_g at the visited draws, (R, V, G); localization (R,)."""
    return n_beta * one.loss_force + localization[:, None, None] * one.distance


def step_bias(one: Walk, n_beta: float, localization: Tensor) -> Tensor:
    """What the finite step of sgld adds to nβ·(L − L(w*)) at the visited draws, (R, V):  (ε/8)·Σ m·nβ∇L·F.

    For U = ½Σ h_i x_i², the stationary variance of sgld is 1/(h_i(1 − εh_i/4)), so with nβ·L = ½Σ a_i x_i² the mean
    is ½Σ a_i/(h_i(1 − εh_i/4)) and the mean of the term above is exactly its excess over ½Σ a_i/h_i, whatever the step.
    """
    push, mixed, _ = one.scaled.unbind(dim=2)
    return one.step_size[:, None] / 8 * n_beta * (n_beta * push + localization[:, None] * mixed)


def controlled(values: np.ndarray, found: np.ndarray) -> np.ndarray:
    """values (chain, visit) less their regression on covariates (chain, visit, group) whose mean should be 0."""
    flat = found.reshape(-1, found.shape[-1])
    scale = np.sqrt(np.square(flat).mean(axis=0))
    flat = flat[:, scale > 0] / scale[scale > 0]
    centered = flat - flat.mean(axis=0)
    weights = np.linalg.lstsq(centered, (values - values.mean()).ravel(), rcond=1e-8)[0]
    return values - (flat @ weights).reshape(values.shape)


def virial(one: Walk, n_beta: float, localization: Tensor, dimension: int) -> Tensor:
    """V = E[(w − w*)·F]/d of each replica, (R,)."""
    return force_offset(one, n_beta, localization).sum(dim=2).mean(dim=1) / dimension


def heat(one: Walk, n_beta: float, localization: Tensor, dimension: int) -> Tensor:
    """(ε/4)·Σ m·F²/d at the visited draws, (R, V): its mean is V − 1 of an sgld chain in its stationary state."""
    push, mixed, distance = one.scaled.unbind(dim=2)
    pull = localization[:, None]
    squared_force = n_beta**2 * push + 2 * n_beta * pull * mixed + pull**2 * distance
    return one.step_size[:, None] * squared_force / (4 * dimension)
