"""Pilots: short walks at a few checkpoints of a run, from which its settings are chosen."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from devi.sampling.kernels import Kernel
from devi.sampling.posterior import Posterior
from devi.sampling.record import Plan
from devi.sampling.stein import heat, step_bias, virial
from devi.sampling.walk import Walkers

PILOT_CHAINS = 2


class Pilot(NamedTuple):
    """What pilot walks say of each (setting, checkpoint)."""

    estimate: Tensor  # λ̂
    heat: Tensor  # (ε/4)·E‖∇U‖²/d, which is V − 1 for a chain in its stationary state: far less noisy than V
    virial: Tensor  # V as measured
    bias: Tensor  # share of the finite step in λ̂
    hold: Tensor  # γ·E‖w − w*‖²/d, the share of the directions that only the localization holds
    excess: Tensor  # (setting, checkpoint, chain, draw), nβ·(L − L(w*))
    step_size: Tensor  # after burn-in


@dataclass
class Pilots:
    """Short walks at a few checkpoints of the run, several settings at a time."""

    posterior: Posterior
    steps: np.ndarray
    kernel: Kernel
    n_beta: float
    batch_size: int
    seed: int
    chains: int = PILOT_CHAINS
    gradients: int = 0
    seconds: float = 0.0

    def walk(self, settings: list[tuple[float, float]], *, burn_in: int, draws: int) -> Pilot:
        """Every (step size, localization) at every pilot checkpoint, as the replicas of one walk."""
        posterior, n_beta = self.posterior, self.n_beta
        shape = len(settings), len(posterior.centers), self.chains
        rows = torch.arange(shape[1]).repeat_interleave(self.chains).repeat(shape[0])
        # Chains of their own (negative numbers), so that the run's draws are not the ones that chose its settings.
        keys = [(int(self.steps[row]), -1 - number % self.chains) for number, row in enumerate(rows.tolist())]
        each = shape[1] * self.chains
        size, pull = torch.tensor(settings, dtype=torch.float64, device=posterior.device).repeat_interleave(each, 0).T
        began = time.perf_counter()
        plan = Plan(
            size[:, None].to(posterior.dtype),
            n_beta,
            pull[:, None].to(posterior.dtype),
            burn_in,
            self.batch_size,
            self.seed,
        )
        walkers = Walkers(posterior, self.kernel, rows.to(posterior.device), keys, plan)
        one = walkers.advance(draws)
        self.seconds += time.perf_counter() - began
        self.gradients += walkers.gradients
        dimension = posterior.dimension

        def by_checkpoint(values: Tensor) -> Tensor:
            return values.view(shape).mean(dim=2).cpu()

        return Pilot(
            estimate=by_checkpoint(n_beta * one.excess.mean(dim=1)),
            heat=by_checkpoint(heat(one, n_beta, pull, dimension).mean(dim=1)),
            virial=by_checkpoint(virial(one, n_beta, pull, dimension)),
            bias=by_checkpoint(step_bias(one, n_beta, pull).mean(dim=1)),
            hold=by_checkpoint(pull * one.distance.sum(dim=2).mean(dim=1) / dimension),
            excess=(n_beta * one.excess).view(*shape, draws).cpu(),
            step_size=by_checkpoint(one.step_size),
        )
