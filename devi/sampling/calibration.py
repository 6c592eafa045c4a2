"""Calibration: sampler settings for a whole run, chosen from short walks at a few of its checkpoints.

    nβ = n / log n      n the number of training examples (Lau et al. 2023), to start from
    the rest            `devi.sampling.langevin_settings`, `devi.sampling.adjusted_settings`

The same settings serve all checkpoints, so that the curve compares like with like.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from devi.sampling import adjusted_settings, langevin_settings
from devi.sampling.budget import Clock
from devi.sampling.choice import WORK, Choice, Trial, work
from devi.sampling.data_sets import described
from devi.sampling.kernels import Kernel
from devi.sampling.pilots import Pilots
from devi.sampling.posterior import Posterior
from devi.sampling.samplers import kernel_named
from devi.sampling.settings import Settings, check_settings
from devi.sampling.step_size import CANDIDATES

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run

Progress = Callable[[float], None] | None

PILOT_CHECKPOINTS = 5
# For the outlook: seconds to time gradients for, and how many calibrations take, small models between 100,000 and
# 600,000, others as many as this work is (by hand; what is announced may be off by 3 to 7 times).
LOOK = 1.0
USUAL_GRADIENTS, USUAL_WORK = 300_000, WORK / 2


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
    budget: float = math.inf,
    parts: int = 1,
    **given: Any,
) -> Settings:
    """The settings for `run`: those given as they are, the others chosen; the same run and seed give the same ones.

    budget  seconds for this and the sampling to come: half of them are for this, which takes fewer and shorter walks
            where time is short (then the machine's speed has a say in the settings)
    parts   how many share what the user gave, of which `budget` is one share
    given  values for names in `devi.sampling.settings.CHOSEN`; None is as if not given
    Raises DeviError for a given setting that is out of range, and for a budget that not even the fewest walks fit in.
    """
    clock = Clock(budget, parts)
    kernel = kernel_named(sampler)
    check_settings(given)
    places = np.unique(np.linspace(0, len(run) - 1, PILOT_CHECKPOINTS).round().astype(int))
    posterior = Posterior(run.select(places), device=device, dtype=dtype, restriction=restriction, sample_on=sample_on)
    rows = _numbers(posterior)
    places, posterior = places[rows], posterior.at(torch.from_numpy(rows).to(posterior.device))
    choice = Choice(given)
    n = posterior.examples
    choice("n_beta", lambda: (n / max(math.log(n), 1.0), f"n / log n with n = {described(sample_on, n)}"))
    trial = Trial(posterior, run.steps[places], len(run), kernel, seed, progress, clock)
    settings = (adjusted_settings if kernel.is_adjusted else langevin_settings).choose(choice, trial)
    trial.tell(1.0)
    return settings


def outlook(run: Run, *, sampler: str | Kernel = "sgld", **where: Any) -> float:
    """Roughly the seconds that `calibrate` takes, by gradients timed at the last checkpoint for a moment.

    where  what the posterior is of, as in `calibrate`
    """
    posterior = Posterior(run.select([len(run) - 1]), **where)
    n = posterior.examples
    pilots = Pilots(posterior, run.steps[-1:], kernel_named(sampler), n / max(math.log(n), 1.0), n, seed=0)
    return pilots.timed(len(CANDIDATES), most=LOOK) * min(USUAL_GRADIENTS, USUAL_WORK / work(posterior, n))


def _numbers(posterior: Posterior) -> np.ndarray:
    """Rows of the checkpoints whose loss and gradient are numbers; all where none are.

    Training may have diverged at the others, and settings that suit all would be none.
    """
    rows = np.arange(len(posterior.centers))
    is_number = np.array([_is_number(posterior, row) for row in rows.tolist()])
    return rows[is_number] if is_number.any() else rows


def _is_number(posterior: Posterior, row: int) -> bool:
    # one alone, for gradients are large where models are
    fixed = posterior.fixed_at(torch.tensor([row], device=posterior.device))
    loss, gradient = posterior.loss_and_gradient(posterior.centers[row][None], fixed, posterior.data)
    return bool(loss.isfinite().all() and gradient.isfinite().all())
