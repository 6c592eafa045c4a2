"""Accuracy of the automatic learning coefficient where it is known: every setting chosen by devi itself.

    python benchmarks/llc_accuracy.py [--sampler hmc|mala|sgld|psgld]… [--kind KIND]… [--seeds 5] [--workers 2]
                                      [--write]
    python benchmarks/llc_accuracy.py --fixed-steps | --displaced | --peers

Without a mode: every case of `devi.known`, `--seeds` times with each sampler. Bounds of hmc and mala by kind: regular
and monomial 2% of what an ideal sampler finds at the same nβ and γ, which is known exactly; of λ, 5% for two-layer
linear, 3% for superposition, 10% for deep linear, cusp and normal crossings. sgld and psgld: 15% of λ. z counts
standard errors from the exact value at the same settings where there is one, else from λ. "Wrong" is what `devi doctor`
calls so. With `--kind` and `--write` the rows of other kinds stay in the tables, each with the day that it was measured
on. The modes are described in llc_fixed_steps.py, llc_displaced.py and llc_peers.py.
"""

from __future__ import annotations

import argparse
import datetime
import math
import re
from collections.abc import Iterable, Sequence

from llc_displaced import displaced
from llc_estimates import LANGEVIN, Estimate, all_estimated
from llc_fixed_steps import fixed_steps
from llc_peers import peers
from tables import machine, put_table, rows_of

from devi.known.cases import CROSSING, CUSP, DEEP, MONOMIAL, POLYGON, REGULAR, TWO_LAYERS, Case, cases, named

NUMBER = re.compile(r"\d+")
BOUNDS = {REGULAR: 0.02, MONOMIAL: 0.02, TWO_LAYERS: 0.05, POLYGON: 0.03, DEEP: 0.1, CUSP: 0.1, CROSSING: 0.1}


def is_within(one: Estimate, case: Case, sampler: str) -> bool:
    """Whether the estimate is as near as asked for."""
    if sampler in ("sgld", "psgld"):
        return abs(one.estimate / case.truth - 1) <= LANGEVIN
    aim = one.goal if case.kind in (REGULAR, MONOMIAL) else case.truth
    return abs(one.estimate / aim - 1) <= BOUNDS[case.kind]


CASE_HEADER = ("case", "λ", "goal", "mean estimate ± error of one", "off", "most errors away", "unflagged", "within",
               "wrong", "flags", "seconds", "measured")  # fmt: skip
KIND_HEADER = ("kind", "estimates", "unflagged", "unflagged and error below 5%", "unflagged within the bound",
               "unflagged within 3 errors", "measured")  # fmt: skip


def case_row(case: Case, found: Sequence[Estimate], sampler: str) -> list[str]:
    finite = [one for one in found if math.isfinite(one.estimate)]
    told = ["-", "-", "-"]
    if finite:
        mean, error, goal = (
            sum(getattr(one, name) for one in finite) / len(finite) for name in ("estimate", "error", "goal")
        )
        told = [f"{goal:.4g}", f"{mean:.3f} ± {error:.3f}", f"{100 * (mean / goal - 1):+.1f}%"]
    plain = [one for one in found if not one.flags]
    flags = sorted({flag for one in found for flag in one.flags.split(",") if flag})
    return [
        case.name, f"{case.truth:.4g}", *told,
        f"{max(abs(one.deviation) for one in plain):.1f}" if plain else "-", f"{len(plain)} of {len(found)}",
        f"{sum(is_within(one, case, sampler) for one in found)} of {len(found)}",
        str(sum(one.verdict == "wrong" for one in found)), ", ".join(flags) or "-",
        f"{sum(one.seconds for one in found) / len(found):.1f}", str(datetime.date.today()),
    ]  # fmt: skip


def share(count: int, of: int) -> str:
    return f"{count} of {of}" + (f" ({100 * count / of:.0f}%)" if of else "")


def all_row(kinds: Sequence[Sequence[str]]) -> list[str]:
    """The sum of the rows of kinds."""
    counts = [[NUMBER.findall(cell)[:2] for cell in row[2:-1]] for row in kinds]
    sums = [[sum(int(pair[place]) for pair in column) for place in (0, 1)] for column in zip(*counts, strict=True)]
    return ["all", str(sum(int(row[1]) for row in kinds)), *(share(*pair) for pair in sums), min(r[-1] for r in kinds)]


def kind_row(kind: str, found: Sequence[tuple[Case, Estimate]], sampler: str) -> list[str]:
    plain = [(case, one) for case, one in found if not one.flags]

    return [
        kind, str(len(found)), share(len(plain), len(found)),
        share(sum(one.error < 0.05 * case.truth for case, one in plain), len(found)),
        share(sum(is_within(one, case, sampler) for case, one in plain), len(plain)),
        share(sum(abs(one.deviation) < 3 for _, one in plain), len(plain)), str(datetime.date.today()),
    ]  # fmt: skip


def accuracy(chosen: Sequence[Case], sampler: str, seeds: int, workers: int, write: bool) -> None:
    jobs = [(case.name, {"sampler": sampler, "seed": seed}) for case in chosen for seed in range(seeds)]
    results = all_estimated(jobs, workers)
    rows, everything = [], []
    print(*CASE_HEADER, sep=" | ")
    for case in chosen:
        found = [next(results) for _ in range(seeds)]
        everything += [(case, one) for one in found]
        rows.append(case_row(case, found, sampler))
        print(*rows[-1], sep=" | ", flush=True)
    kinds = [kind for kind in BOUNDS if any(case.kind == kind for case in chosen)]
    summary = [kind_row(kind, [(c, one) for c, one in everything if c.kind == kind], sampler) for kind in kinds]
    print("", *(" | ".join(row) for row in [KIND_HEADER, *summary, all_row(summary)]), sep="\n")
    if write:
        note = (  # true of rows of other days too
            f"{sampler}, automatic settings; a row counts as many seeds, from 0 on, as it has estimates of each case."
            f" Last written on {machine()}."
        )
        table = f"llc accuracy {sampler}"
        summary = merged(f"{table}, by kind", summary, BOUNDS)
        put_table(table, CASE_HEADER, merged(table, rows, [case.name for case in cases()]), note, is_measured=False)
        put_table(f"{table}, by kind", KIND_HEADER, [*summary, all_row(summary)], note, is_measured=False)


def merged(table: str, rows: Sequence[Sequence[str]], order: Iterable[str]) -> list[Sequence[str]]:
    """These rows and the others of the table that is there, named in this order."""
    named = {row[0]: row for row in (*rows_of(table), *rows)}
    return [named[name] for name in order if name in named]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sampler", action="append", help="repeatable; default: hmc and sgld")
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--case", action="append", help="only this case; repeatable")
    chosen.add_argument("--kind", action="append", choices=BOUNDS, help="only cases of this kind; repeatable")
    parser.add_argument("--workers", type=int, default=1, help="estimates side by side, a thread each")
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/README.md")
    modes = parser.add_mutually_exclusive_group()
    for mode in ("fixed-steps", "displaced", "peers"):
        modes.add_argument(f"--{mode}", action="store_true")
    options = parser.parse_args()
    is_summed = not (options.fixed_steps or options.displaced or options.peers)
    if options.write and options.case and is_summed:
        parser.error("--write needs whole kinds, for their sums: --kind instead of --case")
    if options.fixed_steps:
        fixed_steps(named(options.case) if options.case else cases(), options.workers, options.write)
    elif options.displaced:
        displaced(options.case, options.sampler or ["hmc", "sgld"], options.write)
    elif options.peers:
        peers(options.case, options.write)
    else:
        for sampler in options.sampler or ["hmc", "sgld"]:
            print(f"\n{sampler}")
            some = [case for case in cases() if not options.kind or case.kind in options.kind]
            some = named(options.case) if options.case else some
            accuracy(some, sampler, options.seeds, options.workers, options.write)


if __name__ == "__main__":
    main()
