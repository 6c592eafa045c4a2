"""Is a checkpoint that is no minimum ever taken for one, or a minimum for none?

    python benchmarks/llc_accuracy.py --displaced [--case NAME]… [--sampler S]… [--write]

Each point is moved in a random direction until the loss, times n / log n, is higher by 0.5, 2, 10 and 100 times
max(λ, 1): at least ten times what counts as headroom. All of these must be flagged and none may be negative without a
flag; the point itself must not be flagged as having headroom.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from tables import put_table
from torch import Tensor, nn

from devi.known.cases import Case, cases, named
from devi.known.memory_run import MemoryRun
from devi.metrics.learning_coefficient import LearningCoefficient

EXCESS = (0.5, 2.0, 10.0, 100.0)  # of max(λ, 1)
HEADER = ("case", "sampler", "λ", "at the minimum", "displaced by " + ", ".join(f"{e:g}" for e in EXCESS),
          "minimum flagged headroom", "displaced, not flagged", "negative, not flagged")  # fmt: skip


def moved(case: Case, excess: float, seed: int) -> nn.Module:
    """The case's point, moved until n / log n times the loss gained is `excess`."""
    data = case.task.data("train")
    assert data is not None
    inputs, targets = (part.double() if part.is_floating_point() else part for part in data)
    n_beta = len(targets) / math.log(len(targets))
    model = case.point().double()
    start = [parameter.detach().clone() for parameter in model.parameters()]
    generator = torch.Generator().manual_seed(seed)
    direction = [torch.randn(part.shape, generator=generator, dtype=part.dtype) for part in start]

    def gained(length: float) -> float:
        place(model, [a + length * b for a, b in zip(start, direction, strict=True)])
        with torch.no_grad():
            return n_beta * float(case.task.loss(model(inputs), targets).mean())

    base = gained(0.0)
    low, high = 0.0, 1e-3
    while gained(high) - base < excess:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if gained(middle) - base < excess else (low, middle)
    gained(high)
    return copy.deepcopy(model)


def place(model: nn.Module, values: Sequence[Tensor]) -> None:
    for parameter, value in zip(model.parameters(), values, strict=True):
        parameter.data.copy_(value)


def displaced(names: Sequence[str] | None, samplers: Sequence[str], write: bool) -> None:
    chosen = named(names) if names else [case for case in cases() if not case.must_be_unresolved]
    print(*HEADER, sep=" | ")
    for sampler in samplers:
        rows = []
        for case in chosen:
            points = [case.point(), *(moved(case, e * max(case.truth, 1), seed) for seed, e in enumerate(EXCESS))]
            found = [LearningCoefficient(sampler=sampler).over(MemoryRun.of(case.task, [point])) for point in points]
            flags = [one["llc_flags"].item() for one in found]
            values = [one["llc"].item() for one in found]
            silent = [value for value, flag in zip(values[1:], flags[1:], strict=True) if not flag]
            rows.append([
                case.name, sampler, f"{case.truth:.4g}", f"{values[0]:.3f} {flags[0]}".strip(),
                "; ".join(f"{v:.2f} {f}".strip() for v, f in zip(values[1:], flags[1:], strict=True)),
                "yes" if "headroom" in flags[0].split(",") else "no", str(len(silent)),
                str(sum(value < 0 for value in silent)),
            ])  # fmt: skip
            print(*rows[-1], sep=" | ", flush=True)
        if write:
            note = "Automatic settings; every point is a run of its own."
            put_table(f"llc displaced {sampler}", HEADER, rows, note)
