"""Checkup: the learning coefficient estimated where it is known."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from devi.known.cases import Case
from devi.known.verdict import SHARE, Verdict, judged
from devi.metrics.learning_coefficient import LearningCoefficient

# What `devi doctor` looks at: one or two of each kind, small enough to take a minute together.
CASES = (
    "quadratic d=5",
    "regression d=5 condition=10 n=100",
    "regression d=20 condition=100 n=1000",
    "monomials 4",
    "monomials 2,2,4",
    "crossing 2,4",
    "crossing 2,2",
    "cusp",
    "linear 5-3-4 rank 3",
    "linear 3-2-3 rank 0",
    "linear 6-4-6 rank 2 at ranks 3,2",
    "linear 3-2-2-3 rank 1",
    "superposition 6-gon",
    "superposition 5-gon",
)


class Finding(NamedTuple):
    """An estimate beside the truth. `expected` is what an ideal sampler finds at this nβ and γ, if that is known."""

    case: Case
    estimate: float
    error: float
    flags: str
    n_beta: float
    localization: float
    expected: float | None
    seconds: float
    verdict: Verdict

    @property
    def deviation(self) -> float:
        """From the expected value (from λ if there is none), in standard errors."""
        goal = self.case.truth if self.expected is None else self.expected
        return (self.estimate - goal) / self.error if self.error > 0 else math.nan


def examined(
    case: Case,
    metric: LearningCoefficient,
    *,
    share: float = SHARE,
    progress: Callable[[float], None] | None = None,
) -> Finding:
    """The estimate of the case, every setting that `metric` leaves open chosen as in an analysis, and its verdict.

    share  of λ that the estimate may be away;  progress  takes the share done
    """
    began = time.perf_counter()
    found = metric.over(case.run(), progress)
    n_beta, localization = float(found.attrs["n_beta"]), float(found.attrs["localization"])
    estimate, error, flags = (found[name].item() for name in ("llc", "llc_se", "llc_flags"))
    expected = case.exact(n_beta, localization) if case.exact is not None else None
    verdict = judged(
        estimate, error, flags, truth=case.truth, expected=expected,
        must_be_unresolved=case.must_be_unresolved, share=share,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    return Finding(case, estimate, error, flags, n_beta, localization, expected, seconds, verdict)
