"""Estimates of cases whose learning coefficient is known, side by side in processes of one thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import torch

from devi.known.cases import named
from devi.known.checkup import examined
from devi.metrics.learning_coefficient import LearningCoefficient

LANGEVIN = 0.15  # for sgld and psgld, which have a bias of their own


class Estimate(NamedTuple):
    """One estimate of one case; `goal` is what an ideal sampler finds at its settings, λ where that is not known."""

    name: str
    seed: int
    estimate: float
    error: float
    goal: float
    flags: str
    deviation: float  # from the goal, in standard errors
    verdict: str
    seconds: float


def estimated(job: tuple[str, dict[str, Any]]) -> Estimate:
    """The case called so, with these settings of the metric."""
    torch.set_num_threads(1)
    name, settings = job
    one = examined(named([name])[0], LearningCoefficient(**settings))
    goal = one.case.truth if one.expected is None else one.expected
    return Estimate(
        name,
        settings.get("seed", 0),
        one.estimate,
        one.error,
        goal,
        one.flags,
        one.deviation,
        one.verdict.word,
        one.seconds,
    )


def all_estimated(jobs: Sequence[tuple[str, dict[str, Any]]], workers: int) -> Iterator[Estimate]:
    """In the order of the jobs."""
    if workers == 1:
        yield from map(estimated, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(estimated, jobs)
