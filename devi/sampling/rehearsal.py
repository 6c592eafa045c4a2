"""Rehearsal: the settings of sgld walked as far as burn-in takes, and what then has to be changed in them.

ε        shorter where chains that went farther are too hot, or leave the numbers
burn_in  2·3 / (ε·softest) where the curvatures are known and that is less than planned
γ        3 / (ε·burn_in), and less where the loss holds all directions
"""

from __future__ import annotations

import math
from collections.abc import Callable

from devi.sampling.choice import Choice
from devi.sampling.curvature import FEW_PARAMETERS, Regular
from devi.sampling.pilots import PILOT_CHAINS, Pilots, PilotWalk
from devi.sampling.resolution import moves, variants
from devi.sampling.settings import GIVEN
from devi.sampling.step_size import RELAXATION, chosen_localization, shortened

LONGEST = 1000  # steps of burn-in that are walked

NO_FLAT_DIRECTIONS = 0.15  # share of the directions that the localization may hold for all to count as held by the loss
HOLD = 0.002  # the share it is then brought down to
MOST_HALVED = 2  # times, where chains leave the numbers after all


class Rehearsal:
    """Changes `choice` where it is not given: its step size, and burn-in and localization, which follow from that.

    soft   what is known of a checkpoint without flat directions
    draws  of these walks, at first; their burn-in is that of the run, up to `longest`
    """

    walk: PilotWalk

    def __init__(
        self, choice: Choice, pilots: Pilots, soft: Regular | None, *, draws: int, longest: int = LONGEST
    ) -> None:
        self.choice, self.pilots, self.soft, self.draws, self.longest = choice, pilots, soft, draws, longest
        self.has_free_step = choice.why["step_size"] != GIVEN
        self.has_free_hold = choice.why.get("localization") != GIVEN
        self.planned = int(choice["burn_in"]), choice.why["burn_in"]
        self.most_hold = math.inf if soft is None else soft.localization
        self._follow()

    @property
    def burn_in(self) -> int:
        return min(int(self.choice["burn_in"]), self.longest)

    def shorten(self) -> None:
        """Take the largest step whose chains are still cool when burn-in is over."""
        if not self.has_free_step or self.burn_in == 0:
            return
        before, chains = self.choice["step_size"], self.pilots.chains
        self.pilots.chains = max(PILOT_CHAINS, chains // 2)
        found = shortened(self.pilots, before, self.choice["localization"], burn_in=self.burn_in, draws=self.draws)
        self.pilots.chains = chains
        if found < before:
            self._step(found, "for chains that went farther came to steeper places")

    def start(self) -> None:
        """The walk of all `variants`; a second one where the first shows that γ holds next to nothing."""
        self._walk()
        hold = float(self.walk.told.hold[0].max())
        is_large = self.pilots.posterior.dimension > FEW_PARAMETERS  # of the others the curvatures are known
        if self.has_free_hold and is_large and hold < NO_FLAT_DIRECTIONS:
            self.most_hold = self.choice["localization"] * HOLD / max(hold, HOLD)
            self._follow()
            self._walk()

    def moves(self, *, most_draws: int, is_late: Callable[[], bool]) -> dict[str, float]:
        """See `devi.sampling.resolution`; where a chain leaves the numbers on the way, again with half the step."""
        for left in reversed(range(MOST_HALVED + 1)):
            found = moves(self.walk, most_draws=most_draws, is_late=is_late)
            if self.walk.is_finite or not self.has_free_step or left == 0 or is_late():
                break
            self._step(self.choice["step_size"] / 2, "for a chain left the numbers")
            self._walk()
        return found

    def _walk(self) -> None:
        settings = variants(self.choice["step_size"], self.choice["localization"])
        self.walk = self.pilots.start(settings, burn_in=self.burn_in)
        self.walk.advance(self.draws)

    def _step(self, size: float, why: str) -> None:
        self.choice["step_size"] = size
        self.choice.why["step_size"] += f"; shorter than that, {why}"
        self._follow()

    def _follow(self) -> None:
        """Burn-in and localization by the step size."""
        choice, (burn_in, why) = self.choice, self.planned
        size, scale_at = choice["step_size"], self.pilots.kernel.scale_at
        rate = 0.0
        if self.soft is not None:  # E‖∇U‖² of a direction is its curvature
            rate = size * scale_at(math.sqrt(self.soft.softest) / choice["n_beta"]) * self.soft.softest
        if why != GIVEN and rate * burn_in > 2 * RELAXATION:
            burn_in, why = math.ceil(2 * RELAXATION / rate), "what the direction of least curvature relaxes in"
        choice["burn_in"], choice.why["burn_in"] = burn_in, why
        if not self.has_free_hold:
            return
        pull, why = chosen_localization(size * scale_at(0.0), choice["n_beta"], burn_in)
        if pull > self.most_hold:
            pull, why = self.most_hold, f"no flat directions: it takes about {HOLD:.1%} from an estimate of d/2"
        choice["localization"], choice.why["localization"] = pull, why
