"""Pilots: short walks at a few checkpoints of a run, from which its settings are chosen."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from devi.memory import allowed
from devi.sampling.kernels import Kernel
from devi.sampling.posterior import Posterior
from devi.sampling.record import Plan, Walk
from devi.sampling.stein import heat, step_bias, virial
from devi.sampling.walk import Walkers

PILOT_CHAINS = 2
# Copies of a checkpoint's parameters for each replica: position, center, gradient, noise, temporaries, and what a fork
# hands back (by hand, 3 million parameters: 10 to 14).
HELD = 12
TIMED = 0.1  # seconds that are enough to tell the speed by
FEWEST_TIMED = 64  # draws, likewise


def _each(look: tuple[float, int]) -> float:
    seconds, gradients = look
    return seconds / max(1, gradients)


class Variant(NamedTuple):
    """One setting to walk with; `sharpness` multiplies nβ."""

    step_size: float
    localization: float
    sharpness: float = 1.0


class Pilot(NamedTuple):
    """What pilot walks say of each (setting, checkpoint)."""

    estimate: Tensor  # λ̂
    heat: Tensor  # (ε/4)·E‖∇U‖²/d, which is V − 1 for a chain in its stationary state: far less noisy than V
    virial: Tensor  # V as measured
    bias: Tensor  # share of the finite step in λ̂
    hold: Tensor  # γ·E‖w − w*‖²/d, the share of the directions that only the localization holds
    excess: Tensor  # (setting, checkpoint, chain, draw), nβ·(L − L(w*))


@dataclass
class Pilots:
    """Short walks at a few checkpoints of the run, several settings at a time; it counts what they cost."""

    posterior: Posterior
    steps: np.ndarray
    kernel: Kernel
    n_beta: float
    batch_size: int
    seed: int
    chains: int = PILOT_CHAINS
    gradients: int = 0
    seconds: float = 0.0

    @property
    def at_once(self) -> int:
        """How many replicas of a checkpoint the memory holds, see `devi.memory.allowed`."""
        return replicas_within(self.posterior)

    def timed(self, settings: int, *, most: float) -> float:
        """Seconds of a gradient, as many settings at once as can be timed in about `most` seconds.

        Never in less than TIMED: one alone may take 100 times as long as one of many at once, and a budget that is
        enough would be refused. For the same reason not by a few draws, where there is time for more: while another
        program holds a core, what an advance costs besides its draws was a hundred of them, and once a thousand. So
        the quickest look counts, and whether there is time for more is asked of the gradient alone too.
        """
        most = max(most, TIMED)
        rows = torch.arange(1, device=self.posterior.device)
        data = self.posterior.minibatch(torch.arange(self.batch_size, device=self.posterior.device))
        alone = math.inf
        for _ in range(2):  # the first of all takes longer
            began = time.perf_counter()
            self.posterior.loss_and_gradient(self.posterior.centers[rows], self.posterior.fixed_at(rows), data)
            alone = min(alone, time.perf_counter() - began)
            if 2 * alone > most:
                break
        looks = [(alone, 1)]
        for count in (1, min(settings, self._settings_at_once())):
            if 3 * count * len(self.steps) * self.chains * _each(min(looks, key=_each)) > most:
                break
            walk, draws, spent, before = self.start([Variant(0.0, 0.0)] * count, burn_in=0), 1, 0.0, 0.0
            walk.advance(1)  # untimed, for the same reason
            while True:
                self.gradients, self.seconds = 0, 0.0
                walk.advance(draws)
                looks.append((self.seconds, self.gradients))
                spent += self.seconds
                more = min(4 * max(self.seconds - before, 0.0), 4 * self.gradients * alone)
                if self.seconds >= TIMED and (draws >= FEWEST_TIMED or spent + self.seconds + more > most):
                    break
                draws, before = 4 * draws, self.seconds
        self.seconds, self.gradients = min(looks[1:] or looks, key=_each)  # walking is more than its gradients
        return self.seconds_per_gradient

    @property
    def seconds_per_gradient(self) -> float:
        """As measured so far."""
        return self.seconds / max(1, self.gradients)

    def start(self, settings: Sequence[Variant], *, burn_in: int) -> PilotWalk:
        """A walk of every setting at every pilot checkpoint, all its replicas together."""
        return PilotWalk(self, settings, burn_in)

    def walk(self, settings: Sequence[Variant], *, burn_in: int, draws: int) -> Pilot:
        """What such a walk says, of as many settings at a time as memory holds."""
        size, parts = self._settings_at_once(), []
        for place in range(0, len(settings), size):
            walk = self.start(settings[place : place + size], burn_in=burn_in)
            walk.advance(draws)
            parts.append(walk.told)
        return Pilot(*(torch.cat(numbers) for numbers in zip(*parts, strict=True)))

    def _settings_at_once(self) -> int:
        return max(1, self.at_once // (len(self.steps) * self.chains))


def replicas_within(posterior: Posterior) -> int:
    """How many replicas the memory holds, walked at once; see `devi.memory.allowed`."""
    each = HELD * posterior.dimension * posterior.centers.element_size()
    return max(1, allowed(str(posterior.device)) // max(1, each))


class PilotWalk:
    """A walk that can be gone on with; `told` is what all of it says so far."""

    told: Pilot

    def __init__(self, pilots: Pilots, settings: Sequence[Variant], burn_in: int) -> None:
        self.pilots, self.settings = pilots, settings
        posterior, chains = pilots.posterior, pilots.chains
        self.shape = len(settings), len(posterior.centers), chains
        rows = torch.arange(self.shape[1]).repeat_interleave(chains).repeat(self.shape[0])
        # Chains of their own (negative numbers), so that the run's draws are not the ones that chose its settings.
        keys = [(int(pilots.steps[row]), -1 - number % chains) for number, row in enumerate(rows.tolist())]
        each = torch.tensor(settings, dtype=torch.float64, device=posterior.device)
        size, pull, sharpness = (
            each.repeat_interleave(self.shape[1] * chains, 0).to(posterior.dtype)[:, :, None].unbind(1)
        )
        plan = Plan(size, pilots.n_beta * sharpness, pull, burn_in, pilots.batch_size, pilots.seed)
        self.walkers = Walkers(posterior, pilots.kernel, rows.to(posterior.device), keys, plan)
        self.is_finite = True

    def advance(self, draws: int) -> None:
        """So many draws more, after burn-in the first time."""
        pilots, before = self.pilots, self.walkers.gradients
        began = time.perf_counter()
        walk = self.walkers.advance(draws)
        self.is_finite = bool(walk.excess.isfinite().all())
        pilots.seconds += time.perf_counter() - began
        pilots.gradients += self.walkers.gradients - before
        size = self.shape[1] * self.shape[2]
        parts = [
            self._told(Walk(*(each[size * place : size * (place + 1)] for each in walk)), variant)
            for place, variant in enumerate(self.settings)
        ]
        self.told = Pilot(*(torch.stack(numbers) for numbers in zip(*parts, strict=True)))

    def _told(self, one: Walk, variant: Variant) -> Pilot:
        n_beta, dimension = self.pilots.n_beta * variant.sharpness, self.pilots.posterior.dimension
        pull = torch.full_like(one.step_size, variant.localization)

        def by_checkpoint(values: Tensor) -> Tensor:
            return values.view(self.shape[1:]).mean(dim=1).cpu()

        return Pilot(
            estimate=by_checkpoint(n_beta * one.excess.mean(dim=1)),
            heat=by_checkpoint(heat(one, n_beta, pull, dimension).mean(dim=1)),
            virial=by_checkpoint(virial(one, n_beta, pull, dimension)),
            bias=by_checkpoint(step_bias(one, n_beta, pull).mean(dim=1)),
            hold=by_checkpoint(pull * one.distance.sum(dim=2).mean(dim=1) / dimension),
            excess=(n_beta * one.excess).view(*self.shape[1:], -1).cpu(),
        )
