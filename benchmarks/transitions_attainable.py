"""How many planted transitions could be found at all? python benchmarks/transitions_attainable.py [--write]

An oracle is told the kind, the date and the width of every planted change of transition_cases.py, and the spikes that
the search found. It fits them with the detector's own nulls and noise, lets curves join and leave, and drops what has
not the evidence, the size or the shape of a transition (`eliminated`): what it keeps has positive evidence (a log
Bayes factor of LEAST_EVIDENCE or more against the best fit without it), what it drops no detector of this kind can
report. Both are counted before any cut on confidence. A change that the oracle keeps and the search does not have is a
miss of the search where the oracle's fit costs less, and a matter of taste where the search's fit costs no more.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from tables import put_table, seeded_options
from transition_cases import KINDS, Case, case, matched

from devi.transitions.bundle import Bundle, Shared, cost, kept, settled
from devi.transitions.curves import curves_of
from devi.transitions.detector import _found
from devi.transitions.elimination import eliminated
from devi.transitions.fit import Component, gap_at
from devi.transitions.fusion import LEAST_EVIDENCE
from devi.transitions.grid import SHARP, grid_of
from devi.transitions.refinement import with_components
from devi.transitions.search import regrouped


def counted(one: Case) -> Counter:
    """Of one run: planted, found by the search, kept by the oracle, and what the search lacks of these."""
    curves = curves_of(one.trajectories)[0]
    x = np.ascontiguousarray(curves[0].x)
    grid = grid_of(x.tobytes(), x.tobytes())
    wider = tuple(replace(curve, sigma=curve.sigma * np.sqrt(curve.inflation)) for curve in curves)
    found = _found(Bundle(wider, (grid,) * len(curves)), LEAST_EVIDENCE)
    bundle = found.bundle
    every = range(len(curves))
    spikes = [k for k, component in enumerate(found.fit.components) if component.shape == "spike"]
    start = settled(bundle, kept(found.fit, spikes), every)
    told = with_components(bundle, start, [component_of(change, bundle.x) for change in one.planted], frozenset(every))
    oracle = eliminated(bundle, regrouped(bundle, regrouped(bundle, told)), LEAST_EVIDENCE).fit
    by_search, by_oracle = held(found.fit, one), held(oracle, one)
    lacking = len(by_oracle - by_search)
    cheaper = cost(bundle, oracle) < cost(bundle, found.fit)
    return Counter(
        planted=len(one.planted),
        search=len(by_search),
        oracle=len(by_oracle),
        missed=lacking if cheaper else 0,
        taste=0 if cheaper else lacking,
    )


def component_of(change, x: np.ndarray) -> Component:
    low, high = np.log10(change.onset), np.log10(change.end)
    centre = float((low + high) / 2)
    if change.kind == "kink":
        return Component("kink", centre, SHARP)
    if change.kind == "jump":
        return Component("sigmoid", centre, 0.5 * gap_at(x, centre))
    return Component(change.kind, centre, float(high - low))


def held(fit: Shared, one: Case) -> set[int]:
    """Planted changes that a component of the fit matches."""
    dates = [10**component.centre for component in fit.components if component.shape != "spike"]
    return set(matched(dates, one.planted).values())


def main() -> None:
    options = seeded_options(__doc__, runs=25, seed=5000)
    rows = []
    for kind in KINDS:
        cases = (case(kind, options.seed + i) for i in range(options.runs))
        count = sum((counted(one) for one in cases if one.planted), Counter())
        shares = [f"{count[name] / count['planted']:.2f}" for name in ("search", "oracle", "missed", "taste")]
        rows.append([kind, str(count["planted"]), *shares])
        print(*rows[-1], sep=" | ", flush=True)
    header = [
        "kind", "planted", "recall of the search", "recall of the oracle", "kept by the oracle only, its fit cheaper",
        "kept by the oracle only, its fit no cheaper",
    ]  # fmt: skip
    if options.write:
        note = f"Seeds {options.seed} to {options.seed + options.runs - 1} of each kind, before any cut on confidence."
        put_table("transitions attainable", header, rows, note)


if __name__ == "__main__":
    main()
