"""Watch: what is looked at along the chains beside the loss that they sample.

observed   mean loss on other data sets, at every visited draw;   E[L_other(w)] − L_other(w*) follows
examples   the loss of each example, see `devi.sampling.example_losses`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from devi.sampling.example_losses import ExampleLosses, rounded
from devi.sampling.posterior import Posterior
from devi.task import Batch

SOURCE = "Lau et al. 2023, arXiv:2308.12108"


class Watch:
    """What one chunk of replicas leaves behind beside its walk."""

    def __init__(
        self, *, examples: ExampleLosses | None, observed: Mapping[str, Batch], at_once: int, visit_every: int
    ) -> None:
        """observed: data sets by name; at_once: examples in one pass; visit_every: draws between two looks."""
        self.examples, self.observed = examples, dict(observed)
        self.at_once, self.visit_every = at_once, visit_every
        self.forget()

    def __getstate__(self) -> dict[str, Any]:
        """Without the data: each part of the replicas comes back from another process, and they share them."""
        return {**self.__dict__, "observed": {}}

    def take_up(self, before: Watch) -> None:
        """Share the data with what this was before it was in another process."""
        self.observed = before.observed
        if self.examples is not None and before.examples is not None:
            self.examples.data = before.examples.data

    def forget(self) -> None:
        self.losses: list[Tensor] = []  # each (replica, data set) float64
        if self.examples is not None:
            self.examples.forget()

    def visit(self, draw: int, posterior: Posterior, position: Tensor, fixed: dict[str, Tensor]) -> None:
        """Look at `position` (replica, parameter), the draw's, if it is one to look at."""
        if self.examples is not None:
            self.examples.visit(draw, posterior, position, fixed)
        if self.observed and draw % self.visit_every == 0:
            means = [self._mean(data, posterior, position, fixed) for data in self.observed.values()]
            self.losses.append(torch.stack(means, dim=1))

    def stacked(self) -> np.ndarray:
        """Mean losses on the observed data sets, (replica, visit, data set)."""
        return torch.stack(self.losses, dim=1).cpu().numpy()

    def _mean(self, data: Batch, posterior: Posterior, position: Tensor, fixed: dict[str, Tensor]) -> Tensor:
        pieces = zip(data.inputs.split(self.at_once), data.targets.split(self.at_once), strict=True)
        with torch.no_grad():
            sums = [posterior.losses(position, fixed, Batch(*each)).sum(1, dtype=torch.float64) for each in pieces]
        return torch.stack(sums).sum(dim=0) / len(data.targets)


def with_watched(
    draws: xr.Dataset, watches: list[Watch], posterior: Posterior, observed: Mapping[str, Batch]
) -> xr.Dataset:
    """The draws with what was watched, from the parts of the replicas.

    example_loss    (step, chain, kept_draw, example) float32
    observed_loss   (step, chain, visit, observed)    mean loss on each of the other data sets
    observed_base   (step, observed)                  the same at w*, in the sampler's precision
    """
    units = draws["loss"].attrs["units"]
    chains = draws.sizes["step"], draws.sizes["chain"]

    def about(words: str) -> dict[str, str]:
        return {"units": units, "long_name": words, "source": SOURCE}

    examples = [watch.examples for watch in watches if watch.examples is not None]
    if examples:
        losses = np.concatenate([part.stacked() for part in examples])  # (replica, kept draw, example)
        values = rounded(losses).reshape(*chains, *losses.shape[1:])
        dims = ("step", "chain", "kept_draw", "example")
        draws = draws.assign(example_loss=(dims, values, about("loss of each training example")))
        draws = draws.assign_coords(kept_draw=examples[0].draws, example=np.arange(losses.shape[2]))
    if observed:
        along = np.concatenate([watch.stacked() for watch in watches])  # (replica, visit, data set)
        base = [posterior.mean_loss_at_centers(data).cpu().numpy() for data in observed.values()]
        draws = draws.assign(
            observed_loss=(
                ("step", "chain", "visit", "observed"),
                along.reshape(*chains, *along.shape[1:]),
                about("mean loss on other data along the chains"),
            ),
            observed_base=(("step", "observed"), np.stack(base, axis=1), about("mean loss on other data at w*")),
        ).assign_coords(observed=list(observed))
    return draws
