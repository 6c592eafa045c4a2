"""Settings: everything that sampling needs to know, as plain JSON values, and why it was chosen."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from devi.errors import DeviError

# What `calibrate` chooses where it is not given.
CHOSEN = ("chains", "draws", "burn_in", "step_size", "n_beta", "localization", "batch_size")
COUNTS = ("chains", "draws", "burn_in", "batch_size")
GIVEN = "given"
LEAPFROG_STEPS = 10


@dataclass(frozen=True)
class Settings:
    """See `devi.sampling.calibration` for how each is chosen."""

    sampler: str
    step_size: float  # ε; of hmc and mala, where burn-in starts from unless it was given
    n_beta: float  # nβ
    localization: float  # γ
    burn_in: int
    draws: int
    most_draws: int  # draws double up to here until the error is small enough
    chains: int
    batch_size: int  # examples per gradient; the size of the training set means full batch
    leapfrog_steps: int = LEAPFROG_STEPS  # of a trajectory of hmc, at most
    seconds_per_step: float = math.nan  # of one replica, as measured here: for progress, decides nothing
    reasons: dict[str, str] = field(default_factory=dict)  # setting -> why this value
    tried: list[dict[str, float]] = field(default_factory=list)  # one row per setting tried
    # training step -> share by which the estimate there moves with γ or nβ, see `moves`; empty: not looked at
    moves: dict[str, float] = field(default_factory=dict)
    # the same as measured, where nβ was raised: half of it is a part of the error
    drift: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def check_settings(given: dict[str, float | None]) -> None:
    """Raises DeviError for an unknown setting or one out of range; None means not given."""
    least = {"chains": 1, "draws": 2, "burn_in": 0, "batch_size": 0, "localization": 0, "step_size": 0, "n_beta": 0}
    for name, value in given.items():
        if name not in CHOSEN:
            raise DeviError(f"no sampler setting is called '{name}'. Known: {', '.join(CHOSEN)}.")
        if value is None:
            continue
        if isinstance(value, str) or (name in COUNTS and math.isfinite(value) and value != int(value)):
            kind = "whole number" if name in COUNTS else "number"
            raise DeviError(f"{name} = {value!r} is no {kind}; leave it out to have it chosen from the run.")
        if not math.isfinite(value) or value < least[name] or (name == "n_beta" and value == 0):
            bound = "greater than 0" if name == "n_beta" else f"at least {least[name]}"
            raise DeviError(f"{name} = {value} is out of range: it must be finite and {bound}; leave it out to have it"
                            " chosen from the run.")  # fmt: skip
