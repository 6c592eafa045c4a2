"""Is a wrong step size ever believed? sgld at ten step sizes fixed by hand, from far too small to diverging.

    python benchmarks/llc_accuracy.py --fixed-steps [--case NAME]… [--workers 2] [--write]

The step sizes are 10⁻⁴ to 10 times the one that devi chooses; everything else is chosen as always. Wrong: an estimate
that is not flagged and more than 15% from λ. Also counted: estimates within 15% that are flagged all the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from llc_estimates import LANGEVIN, all_estimated
from tables import put_table

from devi.known.cases import Case
from devi.metrics.learning_coefficient import LearningCoefficient

FACTORS = np.logspace(-4, 1, 10)
HEADER = ("case", "λ", "chosen step size", "flagged", "unflagged, worst", "wrong", "within 15% but flagged")


def fixed_steps(chosen: Sequence[Case], workers: int, write: bool) -> None:
    rows = []
    print(*HEADER, sep=" | ")
    for case in chosen:
        step_size = LearningCoefficient(sampler="sgld").resolved(case.run()).step_size
        assert step_size is not None
        jobs = [(case.name, {"sampler": "sgld", "step_size": float(step_size * factor)}) for factor in FACTORS]
        found = list(all_estimated(jobs, workers))
        off = [abs(one.estimate / case.truth - 1) if math.isfinite(one.estimate) else math.inf for one in found]
        plain = [share for one, share in zip(found, off, strict=True) if not one.flags]
        near = [one for one, share in zip(found, off, strict=True) if share <= LANGEVIN]
        # What no affordable nβ reaches is right when it is flagged, so it has no good runs.
        good = "-" if case.must_be_unresolved else f"{sum(bool(one.flags) for one in near)} of {len(near)}"
        rows.append([
            case.name, f"{case.truth:.4g}", f"{step_size:.2g}", f"{len(found) - len(plain)} of {len(found)}",
            f"{100 * max(plain):.0f}%" if plain else "-", str(sum(share > LANGEVIN for share in plain)), good,
        ])  # fmt: skip
        print(*rows[-1], sep=" | ", flush=True)
    if write:
        put_table("llc fixed steps", HEADER, rows, "sgld at 10⁻⁴ to 10 times the step size devi chooses; one seed.")
