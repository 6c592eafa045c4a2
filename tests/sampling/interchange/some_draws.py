"""Draws of a small run, with everything that draws may carry."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr

from devi.known.memory_run import MemoryRun
from devi.sampling.sample import sample
from devi.tasks.superposition import Superposition


def some_draws(**changes: Any) -> xr.Dataset:
    """Three checkpoints, two chains, nine draws."""
    task, models = Superposition(init_scale=0.7, examples=64), []
    for seed in range(3):
        torch.manual_seed(seed)
        models.append(task.model())
    settings = {"burn_in": 2, "step_size": 1e-3, "n_beta": 100.0, "localization": 1.0, "batch_size": 0}
    run = MemoryRun.of(task, models, steps=[0, 10, 200])
    return sample(run, **{**settings, "chains": 2, "draws": 9, **changes})


def with_example_losses(draws: xr.Dataset) -> xr.Dataset:
    """The draws with losses of 5 training examples and 4 of another data set at every third draw, made up."""
    noise = np.random.default_rng(0).standard_normal
    return draws.assign(
        example_loss=(("step", "chain", "kept_draw", "example"), noise((3, 2, 3, 5)).astype(np.float32)),
        example_loss_test=(("step", "chain", "kept_draw", "example_test"), noise((3, 2, 3, 4)).astype(np.float32)),
    ).assign_coords(kept_draw=[0, 3, 6], example=np.arange(5), example_test=[1, 3, 5, 7])
