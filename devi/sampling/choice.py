"""Choice: the settings of a sampler one after another, each given or chosen, with the reason why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from devi.sampling.budget import Clock
from devi.sampling.kernels import Kernel
from devi.sampling.posterior import Posterior
from devi.sampling.settings import GIVEN, Settings

# Work of all replicas together, in examples × (parameters + 500): what one processor core does in about a minute
# (the 500 stands for the cost per example that does not come from parameters; measured on the two built-in tasks).
WORK = 5e11
OVERHEAD_PARAMETERS = 500
# What a gradient takes at least where replicas go one after another, in that unit: 0.4 ms of Python and autograd, for
# an MLP of 74 parameters. By its examples alone 40 checkpoints of it were given 7 minutes (by hand).
ONE_BY_ONE = 3e6
CHECK_WORK = WORK / 20  # for what is tried on the way
FEWEST_STEPS = 150
FEW_REPLICAS = 64  # a step of so few costs hardly more than a step of one, so chains are free


class Trial(NamedTuple):
    """What settings are tried on: the posterior at a few checkpoints, `steps` (checkpoint,), of a run of so many.

    clock    what is left of the user's budget, which is for sampling too
    """

    posterior: Posterior
    steps: np.ndarray
    checkpoints: int
    kernel: Kernel
    seed: int
    progress: Callable[[float], None] | None
    clock: Clock = Clock()

    def tell(self, share: float) -> None:
        if self.progress is not None:
            self.progress(share)


class Choice(dict[str, float]):
    """The settings so far, and why each."""

    def __init__(self, given: Mapping[str, float | None]) -> None:
        super().__init__({name: value for name, value in given.items() if value is not None})
        self.why = dict.fromkeys(self, GIVEN)

    def __call__(self, name: str, choose: Callable[[], tuple[float, str]]) -> float:
        """The value of a setting: the one given, or what `choose` gives with its reason."""
        if name not in self:
            self[name], self.why[name] = choose()
        return self[name]

    def settings(self, kernel: Kernel, **more: Any) -> Settings:
        return Settings(
            sampler=kernel.name,
            step_size=float(self["step_size"]),
            n_beta=float(self["n_beta"]),
            localization=float(self["localization"]),
            burn_in=int(self["burn_in"]),
            draws=int(self["draws"]),
            chains=int(self["chains"]),
            batch_size=int(self["batch_size"]),
            reasons=self.why,
            **more,
        )


def work(posterior: Posterior, batch_size: int) -> float:
    """Of one gradient of one replica, in the unit of WORK."""
    least = 0.0 if posterior.batched else ONE_BY_ONE
    return max(least, posterior.gradient_cost(batch_size) * (posterior.weight_count + OVERHEAD_PARAMETERS))
