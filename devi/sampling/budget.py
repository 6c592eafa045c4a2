"""Budget: seconds of sampling as a most number of draws, so that what was found once is found again.

    most_draws = (budget − what calibration took) / (seconds per step and replica · replicas) − burn-in

The seconds are what the calibration measured, on this machine; the number of draws is stored with the settings, and
from then on decides alone. Calibration has half of the budget: it times a gradient first, and tries as much as fits.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from devi.errors import DeviError
from devi.sampling.settings import GIVEN, Settings

UNITS = {"s": 1, "m": 60, "h": 3600}
FEWEST_STEPS = 40  # of a chain: with fewer there is neither a burn-in nor an error
BURN_IN_SHARE = 4  # a burn-in that was not given takes one step in so many at most
MOST_CALIBRATING = 0.5  # of a budget
TO_BE_SURE = 2  # what is suggested, over what was measured: on a machine with other work times vary by about as much


def seconds_of(text: str | float | None) -> float | None:
    """'60s', '5m', '1h', or a number of seconds. Raises DeviError for anything else."""
    if text is None or isinstance(text, float | int):
        found = text
    else:
        match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([smh]?)\s*", text)
        found = float(match[1]) * UNITS[match[2] or "s"] if match else math.nan
    if found is not None and not 0 < found < math.inf:
        raise DeviError(f"a budget of '{text}' is no time; expected seconds, minutes or hours: 60s, 5m or 1h.")
    return None if found is None else float(found)


@dataclass(frozen=True)
class Clock:
    """What is left of a budget, in seconds, for calibration; without one there is no end.

    parts  how many share what the user gave, of which `budget` is one share
    """

    budget: float = math.inf
    parts: int = 1
    began: float = field(default_factory=time.perf_counter)

    @property
    def is_set(self) -> bool:
        return self.budget < math.inf

    def left(self) -> float:
        return self.began + MOST_CALIBRATING * self.budget - time.perf_counter()

    def is_late(self) -> bool:
        return self.left() <= 0

    def check(self, seconds_per_gradient: float, *, calibration: float, sampling: float) -> None:
        """Raises DeviError where so many gradients, the fewest that each takes, are more than there is time for."""
        spent = time.perf_counter() - self.began
        shares = (
            (spent + seconds_per_gradient * calibration) / MOST_CALIBRATING,
            seconds_per_gradient * sampling / (1 - MOST_CALIBRATING),
        )
        if max(shares) > self.budget:
            shared = f", one of {self.parts} parts," if self.parts > 1 else ""
            least = self.parts * max(shares)
            raise DeviError(
                f"a budget of {plain(self.budget)} s{shared} is too short: a gradient takes"
                f" {plain(1e3 * seconds_per_gradient, 2)} ms here, calibration at least {calibration:,.0f} of them and"
                f" sampling {sampling:,.0f}, at least about {plain(least, 2)} s of budget. Give more time, twice"
                f" that to be sure: --budget {math.ceil(TO_BE_SURE * least)}s; or take fewer chains."
            )


def within_budget(settings: Settings, budget: float, replicas: int, *, spent: float = 0.0, parts: int = 1) -> Settings:
    """The settings with as many draws at most as `budget` seconds are enough for.

    replicas  chains × checkpoints;  spent  seconds of the budget that calibration has taken
    parts     how many share what the user gave, of which `budget` is one share
    Raises DeviError if not even a short chain can be afforded.
    """
    per_step = settings.seconds_per_step * replicas
    left = max(0.0, budget - spent)
    steps = int(left / per_step) if per_step > 0 else settings.burn_in + settings.most_draws
    is_fixed = settings.reasons.get("burn_in") == GIVEN
    burn_in = settings.burn_in if is_fixed else min(settings.burn_in, steps // BURN_IN_SHARE)
    least = settings.burn_in + FEWEST_STEPS if is_fixed else FEWEST_STEPS
    if steps < least:
        enough = f"{math.ceil(parts * max(2 * spent, spent + 1.1 * least * per_step))}s"
        shared = f", one of {parts} parts," if parts > 1 else ""
        told = f", of which calibration took {plain(spent)} s," if spent else ""
        raise DeviError(
            f"a budget of {plain(budget)} s{shared}{told} is enough for {steps} steps of {replicas} chains, and at"
            f" least {least} are needed. Give more time: --budget {enough}; or take fewer chains."
        )
    most = steps - burn_in
    if settings.reasons.get("draws") == GIVEN:
        most = min(most, settings.draws)
    why = {**settings.reasons, "most_draws": f"what {plain(left)} s of sampling are enough for, as measured once"}
    if burn_in < settings.burn_in:
        why["burn_in"] = f"a quarter of the {steps} steps that the budget is enough for"
    return dataclasses.replace(settings, burn_in=burn_in, draws=min(settings.draws, most), most_draws=most, reasons=why)


def outlook(parts: Sequence[tuple[Settings, int, float]]) -> str:
    """What sampling costs, as a sentence: gradients, and the time where a step was measured.

    parts  settings, replicas and gradients per step of everything that is sampled
    """

    def total(draws: str, each: Callable[[Settings, float], float]) -> float:
        return sum(
            replicas * (settings.burn_in + getattr(settings, draws)) * each(settings, gradients)
            for settings, replicas, gradients in parts
        )

    cost = _span(*(total(draws, lambda settings, gradients: gradients) for draws in ("draws", "most_draws")), unit="")
    seconds = [total(draws, lambda settings, gradients: settings.seconds_per_step) for draws in ("draws", "most_draws")]
    time = "" if math.isnan(seconds[0]) else f"about {_span(*seconds, unit=' s')}, "
    return f"sampling takes {time}{cost} gradients"


def _span(low: float, high: float, *, unit: str) -> str:
    """'12 s' or '12 s to 40 s', three digits each."""
    words = [f"{plain(value)}{unit}" for value in (low, high)]
    return words[0] if words[0] == words[1] else " to ".join(words)


def plain(value: float, digits: int = 3) -> str:
    """A number as people write it: 1,500 and not 1.5e+03."""
    return f"{float(f'{value:.{digits}g}'):,.10g}"
