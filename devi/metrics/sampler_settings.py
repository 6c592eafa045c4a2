"""SamplerSettings: what a user may decide about sampling, and how a run decides the rest."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field

from devi.metrics.metric import Metric
from devi.sampling.settings import CHOSEN, GIVEN, LEAPFROG_STEPS
from devi.task import NotNegative, Positive, Seed

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run
    from devi.sampling.settings import Settings

Progress = Callable[[float], None] | None

# The settings that `calibrate` fills in where they are None.
CALIBRATED = (*CHOSEN, "most_draws", "leapfrog_steps")
WORTH_SAYING = 5  # seconds
FOUND = ("reasons", "moves", "drift")  # what it tells besides


def _several(value: Any) -> Any:
    """One text is one name: a comma may be part of it, as in 'query[0,2]'."""
    return (value,) if isinstance(value, str) else value


def _seconds(value: Any) -> Any:
    from devi.sampling.budget import seconds_of

    return seconds_of(value)


Names = Annotated[tuple[str, ...], BeforeValidator(_several)]


@dataclass(frozen=True)
class SamplerSettings(Metric):
    """Settings that are None are chosen from the run by `calibrate`.

    restrict   the coefficient of only these parameters as well, each restriction by itself: `devi.sampling.restriction`
    sample_on  the data set that is sampled with: train, test, file.py:name; its size is the n of nβ
    observe    data sets whose mean loss is followed along the chains of all parameters
    budget     seconds that calibration and sampling may take, all restrictions together; '60s', '5m', '1h'
    """

    sampler: str = "sgld"
    chains: Annotated[int | None, Field(ge=1)] = None
    draws: Annotated[int | None, Field(ge=2)] = None  # one has no error
    most_draws: Annotated[int | None, Field(ge=2)] = None
    burn_in: Annotated[int | None, Field(ge=0)] = None
    step_size: Positive | None = None
    leapfrog_steps: Annotated[int | None, Field(ge=1)] = None
    n_beta: Positive | None = None
    localization: NotNegative | None = None
    batch_size: Annotated[int | None, Field(ge=0)] = None
    budget: Annotated[float | None, BeforeValidator(_seconds)] = None
    restrict: Names = ()
    sample_on: str = "train"
    observe: Names = ()
    keep_losses: Annotated[int, Field(ge=0)] = 0  # draws of each chain whose loss of every example is kept
    seed: Seed = 0
    device: str = "cpu"
    dtype: Literal["float32", "float64"] = "float32"
    compile: bool = False  # see `devi.sampling.compiling`: for long jobs
    trace_draws: Annotated[int, Field(ge=1)] = (
        250  # of each chain kept in llc_trace, evenly spaced; all count otherwise
    )
    # Filled in with the settings by `resolved`; hash=False because a dict has none.
    reasons: dict[str, str] = dataclasses.field(default_factory=dict, hash=False)  # setting -> why this value
    moves: dict[str, float] = dataclasses.field(default_factory=dict, hash=False)  # see `devi.sampling.resolution`
    drift: dict[str, float] = dataclasses.field(default_factory=dict, hash=False)  # see `devi.sampling.climb`
    restricted: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict, hash=False)  # its own settings
    seconds_per_step: float | None = None  # of one replica, as once measured: for the outlook, decides nothing

    def __post_init__(self) -> None:
        """Texts as the command line has them are taken from Python too."""
        object.__setattr__(self, "budget", _seconds(self.budget))
        object.__setattr__(self, "restrict", tuple(_several(self.restrict)))
        object.__setattr__(self, "observe", tuple(_several(self.observe)))

    def resolved(self, run: Run, progress: Progress = None) -> Self:
        is_filled = self.reasons and all(getattr(self, name) is not None for name in CALIBRATED)
        if is_filled and set(self.restricted) == set(self.restrict):
            return self
        self._check(run)
        parts = 1 + len(self.restrict)
        found = self.settings(run, part(progress, 0, parts))
        restricted = {}
        for place, restriction in enumerate(self.restrict):
            own = self._restricted_settings(run, restriction, found, part(progress, place + 1, parts))
            restricted[restriction] = {name: getattr(own, name) for name in (*CALIBRATED, *FOUND)}
        seconds = found.seconds_per_step if math.isfinite(found.seconds_per_step) else None
        filled = {name: getattr(found, name) for name in (*CALIBRATED, *FOUND)}
        return dataclasses.replace(self, **filled, restricted=restricted, seconds_per_step=seconds)

    def settings(self, run: Run, progress: Progress = None, restriction: str = "") -> Settings:
        """The settings for `run`, with the reason for each."""
        from devi.sampling.budget import within_budget
        from devi.sampling.calibration import calibrate
        from devi.sampling.data_sets import data_set, described
        from devi.sampling.settings import Settings

        given: dict[str, Any] = {name: getattr(self, name) for name in CHOSEN}
        n = {"n": f"{described(self.sample_on, len(data_set(run.task, self.sample_on).targets))}, which nβ counts"}
        is_known = bool(self.reasons or self.moves)  # if not, it is still asked whether the estimate moves
        if is_known and self.budget is None and None not in given.values():
            most, length = self.most_draws or given["draws"], self.leapfrog_steps or LEAPFROG_STEPS
            why = self.reasons or {**dict.fromkeys(CHOSEN, GIVEN), **n}
            told: dict[str, Any] = {"reasons": why, "moves": self.moves, "drift": self.drift}
            return Settings(self.sampler, **given, most_draws=most, leapfrog_steps=length, **told)
        parts, began = 1 + len(self.restrict), time.perf_counter()
        budget = (self.budget or math.inf) / parts
        where = {**self.where(restriction), "progress": progress, "budget": budget, "parts": parts}
        found = calibrate(run, sampler=self.sampler, seed=self.seed, **where, **given)
        found = dataclasses.replace(found, reasons={**found.reasons, **n})
        if self.budget is not None:
            spent = time.perf_counter() - began
            found = within_budget(found, budget, found.chains * len(run), spent=spent, parts=parts)
        own: dict[str, Any] = {"most_draws": self.most_draws, "leapfrog_steps": self.leapfrog_steps}
        return dataclasses.replace(found, **{name: value for name, value in own.items() if value is not None})

    def where(self, restriction: str = "") -> dict[str, Any]:
        """What the posterior is of: the arguments of `Posterior`."""
        import torch

        return {
            "device": self.device,
            "dtype": getattr(torch, self.dtype),
            "restriction": restriction,
            "sample_on": self.sample_on,
        }

    def settings_for(self, restriction: str = "") -> Settings:
        """The settings of a resolved metric: for all parameters, or for a restriction."""
        from devi.sampling.settings import Settings

        own = self.restricted[restriction] if restriction else {n: getattr(self, n) for n in (*CALIBRATED, *FOUND)}
        return Settings(self.sampler, seconds_per_step=self.seconds_per_step or math.nan, **own)

    def preparation(self, run: Run) -> str:
        from devi.sampling.budget import MOST_CALIBRATING, plain
        from devi.sampling.calibration import outlook

        if self.step_size is not None and self.draws is not None:  # the rest is soon chosen
            return ""
        seconds = (1 + len(self.restrict)) * outlook(run, sampler=self.sampler, **self.where())
        seconds = min(seconds, MOST_CALIBRATING * (self.budget or math.inf))
        about = f"roughly {plain(seconds, 1)} s" if seconds < 100 else f"roughly {plain(seconds / 60, 1)} min"
        return f"choosing the sampler's settings by short walks takes {about}" if seconds > WORTH_SAYING else ""

    def outlook(self, run: Run) -> str:
        from devi.sampling.budget import outlook
        from devi.sampling.samplers import kernel_named, prepared

        if self.draws is None or self.chains is None:  # nothing is decided yet
            return ""
        return outlook(
            [
                (own, own.chains * len(run), prepared(kernel_named(self.sampler), own).gradients_per_step)
                for own in (self.settings_for(restriction) for restriction in ("", *self.restrict))
            ]
        )

    def digest(self) -> str:
        from devi.checkpoints.provenance import batch_hash
        from devi.sampling.data_sets import own_data_set

        own = [name for name in (self.sample_on, *self.observe) if ":" in name]
        return "".join(batch_hash(own_data_set(name)) for name in own)

    def _restricted_settings(self, run: Run, restriction: str, whole: Settings, progress: Progress) -> Settings:
        """Calibrated on its own posterior, with the nβ of the whole; hmc and mala take its γ too.

        With the same nβ and γ the restricted posterior is the whole one, given that the other parameters are at w*.
        """
        from devi.sampling.restriction import selects_all
        from devi.sampling.samplers import kernel_named

        if selects_all(run.model_at(0), restriction):
            return whole
        shared: dict[str, Any] = {"n_beta": whole.n_beta}
        if kernel_named(self.sampler).is_adjusted:
            shared["localization"] = whole.localization
        found = dataclasses.replace(self, **shared).settings(run, progress, restriction)
        why = {name: "that of all parameters" for name in shared if getattr(self, name) is None}
        return dataclasses.replace(found, reasons={**found.reasons, **why})

    def _check(self, run: Run) -> None:
        """What would otherwise be found out after minutes of calibration."""
        from devi.sampling.data_sets import data_set
        from devi.sampling.example_losses import check_size
        from devi.sampling.restriction import restricted
        from devi.sampling.written_out import with_floats_as

        for restriction in self.restrict:
            restricted(run.model_at(0), restriction)
        for name in (self.sample_on, *self.observe):
            data_set(run.task, name, with_floats_as(run.model_at(0), self.where()["dtype"]))
        if self.keep_losses:
            examples = len(data_set(run.task, self.sample_on).targets)
            check_size(checkpoints=len(run), chains=self.chains or 4, most=self.keep_losses, examples=examples)


def part(progress: Progress, place: int, parts: int) -> Progress:
    """Progress of one part of several equal ones."""
    return None if progress is None else lambda share: progress((place + share) / parts)
