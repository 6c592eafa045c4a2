"""Verdict: whether an estimate of a known coefficient is right, flagged, or wrong without saying so."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

ERRORS = 3.0  # standard errors that an estimate may be away; 1 right estimate in 370 is further, if it is normal
SHARE = 0.10  # of λ that an estimate may be away
ROUNDING = 0.002  # of λ: what single precision and a point known to seven digits leave where the error says nothing

Word = Literal["right", "flagged", "wrong"]


class Verdict(NamedTuple):
    """`word`, and why it is not simply right."""

    word: Word
    reason: str = ""


def judged(
    estimate: float,
    error: float,
    flags: str,
    *,
    truth: float,
    expected: float | None = None,
    must_be_unresolved: bool = False,
    share: float = SHARE,
) -> Verdict:
    """The verdict on `estimate` ± `error` with `flags` (comma-separated words, empty when healthy).

    truth      λ
    expected   what an ideal sampler finds at the same nβ and γ, where it is known: the error is compared with that
    must_be_unresolved  λ is out of reach of any affordable nβ; only an estimate that says so is right
    share      of λ that the estimate may be away from it

    wrong: unflagged, and off by more than 3 standard errors or by `share`. A flag is an answer, if a weaker one.
    """
    words = flags.split(",") if flags else []
    if must_be_unresolved:
        if "unresolved" in words:
            return Verdict("right", "unresolved, as it must be")
        return Verdict("wrong", "must be flagged unresolved")
    if words:
        return Verdict("flagged")
    if not (math.isfinite(estimate) and math.isfinite(error)):
        return Verdict("wrong", "not a number, and not flagged")
    if abs(estimate - truth) > share * abs(truth):
        return Verdict("wrong", f"off by more than {share:.0%}")
    distance = abs(estimate - (truth if expected is None else expected))
    if distance > max(ERRORS * error, ROUNDING * abs(truth)):
        return Verdict("wrong", f"off by more than {ERRORS:g} standard errors")
    return Verdict("right")
