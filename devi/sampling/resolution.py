"""Resolution: whether an estimate stays where it is when the prior is weakened or the posterior sharpened.

    weaker    γ/2, everything else the same
    sharper   2·nβ and 2·γ with ε/2, so that nothing but the loss's departure from a quadratic changes

All walks use the same noise, chain by chain: for a quadratic the differences are then nearly free of noise, where each
estimate alone has an error of some percent.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from devi.sampling.diagnostics import rhat_and_ess, standard_error
from devi.sampling.pilots import Pilots

SMALLEST_MOVE = 0.05  # of the estimate
MOVE_ERRORS = 3.0  # of the difference: two settings at five checkpoints are ten chances of a false alarm
MOST_HIDDEN = 0.15  # of the estimate: a larger move that the errors might hide counts as one
SMALLEST_ESTIMATE = 0.25  # a move is a share of this, for estimates below it


def moves(pilots: Pilots, *, step_size: float, localization: float, burn_in: int, draws: int) -> dict[str, float]:
    """How far the estimate at each pilot checkpoint moves, as a share of it: {training step: signed share}.

    Of the two changes the one that moves it more; 0 where no move is larger than 5% and 3 of its own errors. Where 3
    errors are more than 15% they stand for the move: chains that mix so slowly do not show that an estimate stays. It
    is 1 where chains left the numbers: no change makes a step too long that was not, so nothing held them. A posterior
    with tails as long as that can also look still in a walk this short. Steps as text: keys of JSON.
    """
    if step_size == 0:
        return {}
    sharper = dataclasses.replace(pilots, n_beta=2 * pilots.n_beta)
    settings = [(step_size, localization), (step_size, localization / 2)]
    one = pilots.walk(settings, burn_in=burn_in, draws=draws)
    other = sharper.walk([(step_size / 2, 2 * localization)], burn_in=burn_in, draws=draws)
    is_sgld = pilots.kernel.has_step_bias  # the others have no correction for the step size
    bias = np.concatenate([one.bias.numpy(), other.bias.numpy()])  # (setting, checkpoint)
    traces = np.concatenate([one.excess.numpy(), other.excess.numpy()])  # (setting, checkpoint, chain, draw)
    traces = np.where(np.isfinite(traces), traces, np.nan)  # an infinity would only become one on the way
    if is_sgld:
        traces -= bias[:, :, None, None]
    estimate = np.maximum(np.abs(traces[0].mean(axis=(1, 2))), SMALLEST_ESTIMATE)
    found: dict[str, float] = {}
    shares = np.stack([counted_move(trace - traces[0], estimate) for trace in traces[1:]])  # (change, checkpoint)
    for place, step in enumerate(pilots.steps):
        share = float(shares[np.abs(shares[:, place]).argmax(), place])  # NaN counts as the largest
        found[str(int(step))] = round(share, 3) if math.isfinite(share) else 1.0
    return found


def counted_move(difference: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """Mean of a difference of traces (checkpoint, chain, draw) as a share of the estimate, 0 where it counts for none;
    (checkpoint,)."""
    move = difference.mean(axis=(1, 2)) / estimate
    reach = MOVE_ERRORS * standard_error(difference, rhat_and_ess(difference)[1]) / estimate
    is_seen = np.abs(move) > np.fmax(SMALLEST_MOVE, reach)
    return np.where(is_seen | np.isnan(move), move, np.where(reach > MOST_HIDDEN, reach, 0.0))


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
    listed = ", ".join(f"{share:+.0%} at step {step}" for step, share in moved.items())
    return f"at {len(moved)} of {len(found)} checkpoints the estimate moves, or may, {tried}: {listed}"
