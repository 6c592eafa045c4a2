"""Resolution: whether an estimate stays where it is when the prior is weakened or the posterior sharpened.

    weaker    γ/2, everything else the same
    sharper   2·nβ and 2·γ with ε/2, so that nothing but the loss's departure from a quadratic changes

All walks use the same noise, chain by chain: for a quadratic the differences are then nearly free of noise, where each
estimate alone has an error of some percent. They go on until each move is seen, or known to be small.

Where λ is known, an ideal sampler's estimate that is 15% low moves by this much at γ/2: w⁴ to w⁸ 8%, w₁²w₂⁴ 7%, the
cusp and a linear network at rank 0 4%. One that is high, as chains leave a polygon's surroundings, shows at 2·nβ: it
falls by about as much as it is high. One that is low because γ exceeds the curvature of whole directions hardly
moves at γ/2, and of a parabola not at 2·nβ; nor does a climb see it, where γ holds them on every rung. So what the
Hessian says is looked at beside it (`fallen_short`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from devi.sampling.curvature import Curvatures, Rank, unexplored
from devi.sampling.diagnostics import rhat_and_ess, standard_error
from devi.sampling.pilots import PilotWalk, Variant
from devi.sampling.posterior import Posterior

SMALLEST_MOVE = 0.04  # of the estimate, see above
MOVE_ERRORS = 3.0  # of the difference: two settings at five checkpoints are ten chances of a false alarm
# Of the estimate: a move that may be larger counts as one. With 20% at 2·nβ the crossing w₁²w₂² passed, 18% low.
MOST_HIDDEN = 0.10
NOTHING = 1e-9  # an estimate that small is 0; any other moves by a share of itself


def variants(step_size: float, localization: float) -> list[Variant]:
    """The settings themselves, weaker and sharper."""
    return [
        Variant(step_size, localization),
        Variant(step_size, localization / 2),
        Variant(step_size / 2, 2 * localization, 2.0),
    ]


def moves(walk: PilotWalk, *, most_draws: int, is_late: Callable[[], bool] = lambda: False) -> dict[str, float]:
    """How far the estimate at each pilot checkpoint moves, as a share of it: {training step: signed share}.

    walk   with `variants`, begun; its draws double until all is known, to `most_draws` or until `is_late`

    Of the two changes the one that moves it more; 0 where no move is larger than 4% and 3 of its own errors. Where a
    move with 3 errors may still be more than MOST_HIDDEN that stands for it: chains that mix so slowly do not show that
    an estimate stays. It is 1 where chains left the numbers: no change makes a step too long that was not, so nothing
    held them. A posterior with tails as long as that can also look still in a walk this short. Steps as text: keys of
    JSON.
    """
    if walk.settings[0].step_size == 0:
        return {}
    while True:
        traces, estimate = _told(walk)
        found = [counted_move(trace - traces[0], estimate) for trace in traces[1:]]
        shares, is_seen, is_known = (np.stack(each) for each in zip(*found, strict=True))  # (change, checkpoint)
        more = min(traces.shape[3], most_draws - traces.shape[3])
        if (is_seen.any(axis=0) | is_known.all(axis=0)).all() or more <= 0 or is_late():
            break
        walk.advance(more)
    return largest(walk.pilots.steps, shares)


class Reached(NamedTuple):
    """What chains at these settings came to, λ̂ above 0 and its standard error, (checkpoint,) each."""

    estimate: np.ndarray
    error: np.ndarray
    n_beta: float
    localization: float


def reached(walk: PilotWalk) -> Reached:
    """By the first setting of a walk, which is that of the run."""
    (own, *_), estimate = _told(walk)
    error = standard_error(own, rhat_and_ess(own)[1])
    return Reached(estimate, error, walk.pilots.n_beta, walk.settings[0].localization)


def missing(known: Sequence[Curvatures | Rank], estimate: np.ndarray, error: np.ndarray) -> np.ndarray:
    """By how much of the estimate λ is larger for all that its error tells, as half of the Hessian's rank; (step,)."""
    least = np.array([one.least for one in known]) if known else np.zeros(len(estimate))
    return (least - MOVE_ERRORS * error) / np.fmax(estimate, NOTHING) - 1


def fallen_short(
    found: dict[str, float], posterior: Posterior, steps: np.ndarray, known: Sequence[Curvatures | Rank], here: Reached
) -> dict[str, float]:
    """The moves found, and where one is nothing by how much of the estimate λ must be larger, or may be.

    λ is at least half of the Hessian's rank; and a quarter larger for each direction in which the loss rises beyond
    the reach of chains that γ holds. Neither shows where γ is changed a little: what is held far too tightly stays so.

    known  the curvatures at each of the posterior's checkpoints, `steps`, or none
    """
    told = dict(found)
    short = missing(known, here.estimate, here.error)
    for row, (step, one) in enumerate(zip(map(str, steps.tolist()), known, strict=False)):
        if found.get(step) != 0:
            continue
        hidden = 0.25 * unexplored(posterior, row, one, here.n_beta, here.localization)
        share = max(short[row], hidden / max(here.estimate[row], NOTHING))
        if share > MOST_HIDDEN:
            told[step] = round(float(share), 3)
    return told


def _told(walk: PilotWalk) -> tuple[np.ndarray, np.ndarray]:
    """Traces of λ̂ (setting, checkpoint, chain, draw), and what the first setting's come to (checkpoint,), above 0."""
    pilot = walk.told
    traces = pilot.excess.numpy()
    traces = np.where(np.isfinite(traces), traces, np.nan)  # an infinity would only become one on the way
    if walk.pilots.kernel.has_step_bias:  # the others have no correction for the step size
        traces = traces - pilot.bias.numpy()[:, :, None, None]
    return traces, np.fmax(np.abs(traces[0].mean(axis=(1, 2))), NOTHING)


class Move(NamedTuple):
    """share  of the estimate, 0 where it counts for none;  is_seen, is_known: whether it is not chance, or small enough

    Each (checkpoint,).
    """

    share: np.ndarray
    is_seen: np.ndarray
    is_known: np.ndarray


def largest(steps: np.ndarray, shares: np.ndarray) -> dict[str, float]:
    """Of the moves (change, checkpoint) the one that is most, {step: signed share}; 1 for what is no number."""
    found: dict[str, float] = {}
    for place, step in enumerate(steps):
        share = float(shares[np.abs(shares[:, place]).argmax(), place])  # NaN counts as the largest
        found[str(int(step))] = round(share, 3) if math.isfinite(share) else 1.0
    return found


def counted_move(difference: np.ndarray, estimate: np.ndarray) -> Move:
    """Mean of a difference of traces (checkpoint, chain, draw) as a share of the estimate."""
    error = standard_error(difference, rhat_and_ess(difference)[1])
    return counted(difference.mean(axis=(1, 2)) / estimate, error / estimate)


def counted(move: np.ndarray, error: np.ndarray) -> Move:
    """Whether a move, a share of the estimate with such an error, counts; each (checkpoint,)."""
    reach = MOVE_ERRORS * error
    is_seen = np.isnan(move) | (np.abs(move) > np.fmax(SMALLEST_MOVE, reach))
    most = np.abs(move) + reach
    share = np.where(is_seen, move, np.where(most > MOST_HIDDEN, np.copysign(most, move), 0.0))
    return Move(share, is_seen, most <= MOST_HIDDEN)


def at_nearest(found: dict[str, float], all_steps: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The number found at the pilot checkpoint nearest to each of `steps`, (step,); 0 where none was.

    all_steps  (checkpoint,) of the whole run: nearness is counted in checkpoints, as the pilots are spaced
    """
    if not found:
        return np.zeros(len(steps))
    pilots = np.searchsorted(all_steps, [int(step) for step in found])
    places = np.searchsorted(all_steps, steps)
    nearest = np.abs(places[:, None] - pilots[None, :]).argmin(axis=1)
    return np.array(list(found.values()))[nearest]


HALVED = "at half the localization and at twice nβ"


def reason(found: dict[str, float], *, tried: str = HALVED) -> str:
    """One line for the settings table; `tried` says what was changed."""
    moved = {step: share for step, share in found.items() if share}
    if not found:
        return "not known: a step size of 0 tells nothing"
    if not moved:
        return f"no: {tried} the estimates of {len(found)} checkpoints stay"
    listed = ", ".join(f"{share:+.0%} at step {step}" for step, share in moved.items()).replace("-", "−")
    return f"at {len(moved)} of {len(found)} checkpoints the estimate moves, or may, {tried}: {listed}"
