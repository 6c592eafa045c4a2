"""Every case with a known local learning coefficient: the loss, the point, λ and its multiplicity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from torch import nn

from devi.errors import unknown_name
from devi.known.coefficients import deep_linear, reduced_rank, two_layer_at
from devi.known.linear_networks import LinearNetwork
from devi.known.memory_run import MemoryRun
from devi.known.monomials import Cusp, Monomials, Product
from devi.known.polygons import EvenSuperposition, polygon_point
from devi.known.regression import Regression
from devi.task import Task
from devi.tasks.superposition import Superposition

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run

REGULAR, MONOMIAL, CROSSING, CUSP = "regular", "monomial", "normal crossing", "cusp"
TWO_LAYERS, DEEP, POLYGON = "two-layer linear", "deep linear", "superposition"


AFFORDABLE = 1e5  # nβ that a minute of sampling may reach


class Case(NamedTuple):
    """A loss and a point where its learning coefficient is known.

    name, kind     what it is called, and one of the words above
    task, point    the loss, and what makes the model at the point (when it is needed: some descend to it first)
    truth          λ
    multiplicity   m: above 1, estimates at any affordable nβ are far from λ, by about (m − 1)/log nβ
    note           where λ comes from
    exact          (nβ, γ) -> what an ideal sampler finds there; None where no closed form is known
    """

    name: str
    kind: str
    task: Task
    point: Callable[[], nn.Module]
    truth: float
    multiplicity: int
    note: str
    exact: Callable[[float, float], float] | None = None

    @property
    def must_be_unresolved(self) -> bool:
        """Whether no affordable nβ comes near: the log correction at nβ = 10⁵ is more than a tenth of λ."""
        return (self.multiplicity - 1) / math.log(AFFORDABLE) > 0.1 * self.truth

    def run(self) -> Run:
        """A run of one checkpoint: the point."""
        return cast("Run", MemoryRun.of(self.task, [self.point()]))  # all that metrics and sampling read of one


def cases() -> list[Case]:
    """All cases, the quick ones of each kind first."""
    return [*_regular(), *_monomials(), *_crossings(), *_two_layers(), *_deep(), *_polygons()]


def named(names: Sequence[str]) -> list[Case]:
    """The cases called so, in this order."""
    known = {case.name: case for case in cases()}
    for name in names:
        if name not in known:
            raise unknown_name("case", name, known)
    return [known[name] for name in names]


def _regular() -> list[Case]:
    found = []
    for d in (1, 2, 5, 20, 100):
        task = Monomials((2,) * d)
        found.append(Case(f"quadratic d={d}", REGULAR, task, task.model, d / 2, 1, "d/2", task.exact_at))
    for d, condition, n in (
        (2, 1.0, 100), (5, 10.0, 100), (20, 100.0, 1000), (10, 1e4, 1000), (100, 10.0, 1000), (20, 1.0, 10000),
    ):  # fmt: skip
        fit = Regression(d, condition, n)
        name = f"regression d={d} condition={condition:g} n={n}"
        found.append(Case(name, REGULAR, fit, fit.solution, d / 2, 1, "d/2", fit.exact_at))
    return found


def _monomials() -> list[Case]:
    found = []
    for powers in ((4,), (6,), (8,), (2, 4), (2, 2, 4), (4, 4), (2, 4, 6), (2, 2, 2, 4, 6, 8)):
        task = Monomials(powers)
        name = "monomials " + ",".join(map(str, powers))
        truth = sum(1 / power for power in powers)
        found.append(Case(name, MONOMIAL, task, task.model, truth, 1, "Σ 1/p", task.exact_at))
    scaled = Monomials((2, 4), scales=(100.0, 0.01))
    found.append(
        Case("monomials 100·2,0.01·4", MONOMIAL, scaled, scaled.model, 0.75, 1, "Σ 1/p, any scales", scaled.exact_at)
    )
    return found


def _crossings() -> list[Case]:
    found = []
    for powers in ((2, 4), (2, 6), (2, 2), (4, 4), (2, 2, 2)):
        task = Product(powers)
        ties = powers.count(max(powers))
        name = "crossing " + ",".join(map(str, powers))
        found.append(Case(name, CROSSING, task, task.model, 1 / max(powers), ties, "min 1/p", task.exact_at))
    cusp = Cusp()
    return [*found, Case("cusp", CUSP, cusp, cusp.model, 5 / 12, 1, "Watanabe 2009", cusp.exact_at)]


def _two_layers() -> list[Case]:
    found = []
    for widths, rank in (
        ((5, 3, 4), 3), ((6, 3, 5), 3), ((6, 4, 6), 2), ((4, 4, 4), 1), ((3, 2, 3), 0), ((3, 1, 3), 0),
        ((6, 6, 6), 3), ((2, 5, 2), 1), ((8, 2, 3), 1),
    ):  # fmt: skip
        task = LinearNetwork(widths, rank)
        value, multiplicity = reduced_rank(*widths, rank)
        note = "Aoyagi & Watanabe 2005"
        exact = task.exact_at if rank == 0 else None
        found.append(
            Case(_linear(widths, rank), TWO_LAYERS, task, task.most_singular, float(value), multiplicity, note, exact)
        )
    for widths, rank, first, second in (
        ((6, 4, 6), 2, 3, 2),
        ((6, 4, 6), 2, 3, 3),
        ((5, 4, 3), 1, 1, 3),
        ((4, 3, 4), 0, 2, 1),
    ):
        task = LinearNetwork(widths, rank)
        value, multiplicity = two_layer_at(*widths, rank_first=first, rank_second=second, rank_product=rank)
        name = f"{_linear(widths, rank)} at ranks {first},{second}"
        point = partial(task.with_extra_rank, first, second)
        note = "local two-layer formula"
        if (lowest := reduced_rank(*widths, rank).value) < value:
            # 5-4-3: 6.2 to 6.6 at γ = 1, whatever nβ; 7.5 at γ = 1000 and nβ = 2·10⁶
            note += f"; a weak pull lets chains reach points of the same fibre where λ = {float(lowest):g}"
        found.append(Case(name, TWO_LAYERS, task, point, float(value), multiplicity, note))
    noisy = LinearNetwork((5, 3, 4), 3, noise=1.0)
    value, _ = reduced_rank(5, 3, 4, 3)
    found.append(
        Case("linear 5-3-4 rank 3 with noise", TWO_LAYERS, noisy, noisy.most_singular, float(value), 1,
             "Aoyagi & Watanabe 2005, at the minimum of noisy data")
    )  # fmt: skip
    return found


def _deep() -> list[Case]:
    found = []
    for widths, rank in (((5, 5, 5, 5), 2), ((4, 3, 3, 4), 3), ((3, 2, 2, 3), 1), ((4, 4, 4, 4, 4), 1)):
        task = LinearNetwork(widths, rank)
        value, multiplicity = deep_linear(widths, rank)
        found.append(
            Case(_linear(widths, rank), DEEP, task, task.most_singular, float(value), multiplicity, "Aoyagi 2024")
        )
    return found


def _polygons() -> list[Case]:
    even, random = EvenSuperposition(), Superposition(importance_decay=1.0, examples=1000)
    rank = "half the rank of the Hessian"
    return [
        Case(f"superposition {name}{'' if task is even else ', random data'}", POLYGON, task,
             partial(polygon_point, task, name), truth, 1, note)
        for task, name, truth, note in (
            (even, "6-gon", 8.5, rank), (even, "5-gon", 7.0, rank), (even, "5-gon+", 8.5, rank),
            (even, "4-gon", 7.5, "homogeneous of degree 2; a weak pull lets chains escape to lower minima"),
            (random, "6-gon", 8.5, rank), (random, "5-gon", 7.0, rank),
        )
    ]  # fmt: skip


def _linear(widths: Sequence[int], rank: int) -> str:
    return f"linear {'-'.join(map(str, widths))} rank {rank}"
