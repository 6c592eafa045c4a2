"""How many planted transitions devi finds, and how often it alarms without any: python benchmarks/transitions.py

The cases are those of transition_cases.py. A prediction matches a planted change if its midpoint lies in
[onset / 1.1, end · 1.1], one to one; every other prediction is a false alarm. `--seed` gives fresh cases: those of
fit_confidence.py have seeds below 2000, and 2000 to 2039 were looked at while the search was made.

A 90% interval should hold the planted midpoint in 85 to 95% of the matches; that of a jump is any date between its two
checkpoints. Expected calibration error: over five bins of confidence, the mean distance between the confidence and
the share of predictions that match, on all predictions of the exploratory point; a null run counts as any other.

`--peers` tunes the methods of transition_peers.py on TUNED cases of each kind from seed 0 on and holds them against
devi (`pip install devi[bench]`). `--write` puts the tables into benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np
from tables import put_table
from transition_cases import KINDS, NULLS, Case, case, matched
from transition_peers import METHODS, Method, midpoints

from devi.transitions.fusion import OPERATING_POINTS, find_transitions
from devi.transitions.transition import Transition

TUNED = 15  # cases of each kind for the peers
DATES = ("onset", "midpoint", "end")


def measure(cases: list[Case], found: list[list[Transition]], least_confidence: float) -> dict[str, Counter]:
    """Counts by kind of case: planted, found, false, runs."""
    return counts_of(cases, [[t.midpoint for t in each if t.confidence >= least_confidence] for each in found])


def calibration_error(cases: list[Case], found: list[list[Transition]]) -> tuple[float, int]:
    """Expected calibration error over five bins, and the number of predictions."""
    confidence, true = [], []
    for one, transitions in zip(cases, found, strict=True):
        pairs = matched([t.midpoint for t in transitions], one.planted)
        confidence += [t.confidence for t in transitions]
        true += [float(i in pairs) for i in range(len(transitions))]
    p, t = np.array(confidence), np.array(true)
    place = np.minimum((p * 5).astype(int), 4)
    gaps = [np.mean(place == k) * abs(p[place == k].mean() - t[place == k].mean()) for k in set(place)]
    return float(sum(gaps)), len(p)


def coverage(cases: list[Case], found: list[list[Transition]]) -> str:
    """How often the 90% intervals of matched transitions hold the planted dates, in words: the midpoint of all, and for
    each kind all three dates."""
    held: dict[str, list[list[bool]]] = {kind: [] for kind in KINDS}
    for one, transitions in zip(cases, found, strict=True):
        for i, j in matched([t.midpoint for t in transitions], one.planted).items():
            intervals, planted = transitions[i].intervals, one.planted[j]
            abrupt = planted.kind == "jump"  # has its dates anywhere between two checkpoints
            held[planted.kind].append([
                intervals[date][0] <= (planted.end if abrupt else getattr(planted, date))
                and intervals[date][1] >= (planted.onset if abrupt else getattr(planted, date))
                for date in DATES
            ])  # fmt: skip
    every = [row for rows in held.values() for row in rows]
    # A kink is at one date only.
    shares = {kind: np.mean(rows, axis=0) for kind, rows in held.items() if rows and kind != "kink"}
    by_kind = ", ".join(f"{kind} {'/'.join(f'{100 * one:.0f}' for one in share)}" for kind, share in shares.items())
    return (
        f"The 90% interval of the midpoint holds it in {np.mean(every, axis=0)[DATES.index('midpoint')]:.0%} of"
        f" {len(every)} matches; onset/midpoint/end by kind, in %: {by_kind}."
    )


def sure_and_right(cases: list[Case], found: list[list[Transition]], least: float) -> float:
    """Share of the transitions with at least so much confidence that match."""
    right = []
    for one, transitions in zip(cases, found, strict=True):
        pairs = matched([t.midpoint for t in transitions], one.planted)
        right += [i in pairs for i, t in enumerate(transitions) if t.confidence >= least]
    return float(np.mean(right)) if right else 1.0


def f1(counts: dict[str, Counter]) -> float:
    total = sum(counts.values(), Counter())
    return 2 * total["found"] / max(2 * total["found"] + total["false"] + total["planted"] - total["found"], 1)


def null_alarms(counts: dict[str, Counter]) -> float:
    nulls = sum((counts[kind] for kind in NULLS), Counter())
    return nulls["false"] / nulls["runs"]


def counts_of(cases: list[Case], midpoints: list[list[float]]) -> dict[str, Counter]:
    """Counts by kind of case: planted, found, false, runs."""
    counts: dict[str, Counter] = {}
    for one, dates in zip(cases, midpoints, strict=True):
        pairs = matched(dates, one.planted)
        count = counts.setdefault(one.kind, Counter())
        count.update(runs=1, planted=len(one.planted), found=len(pairs), false=len(dates) - len(pairs))
    return counts


def compared(cases: list[Case], found: list[list[Transition]], tuning: list[Case]) -> list[list[str]]:
    """A row for each peer, tuned on `tuning`, and for devi's operating points, on the same cases."""
    rows = []
    for name, (method, settings) in METHODS.items():
        tried = [(f1(measured_by(method, tuning, setting)), setting) for setting in settings]
        setting = max(tried)[1]
        tuned, fresh = measured_by(method, tuning, setting), measured_by(method, cases, setting)
        rows.append([name, f"{setting:.3g}", *_figures(tuned), *_figures(fresh)])
    known = [find_transitions(one.trajectories, operating_point="exploratory") for one in tuning]
    for point, least in OPERATING_POINTS.items():
        rows.append([f"devi, {point}", f"{least:g}", *_figures(measure(tuning, known, least))])
        rows[-1] += _figures(measure(cases, found, least))
    return rows


def measured_by(method: Method, cases: list[Case], setting: float) -> dict[str, Counter]:
    return counts_of(cases, [midpoints(method, one.trajectories, setting) for one in cases])


def _of_set(cases: list[Case], found: list[list[Transition]]) -> list[str]:
    counts = {point: measure(cases, found, least) for point, least in OPERATING_POINTS.items()}
    wide = counts["exploratory"]
    recalls = [f"{wide[kind]['found'] / max(wide[kind]['planted'], 1):.2f}" for kind in KINDS]
    return [f"{f1(counts['strict']):.2f}", f"{f1(wide):.2f}", *recalls]


def _figures(counts: dict[str, Counter]) -> list[str]:
    return [f"{f1(counts):.2f}", f"{null_alarms(counts):.2f}"]


def row_of(operating_point: str, counts: dict[str, Counter]) -> list[str]:
    """F1 over all cases, recall by kind of change, false alarms per run with changes and by kind of null."""
    planted = sum((counts[kind] for kind in KINDS), Counter())
    return [
        operating_point,
        f"{f1(counts):.2f}",
        *(f"{counts[kind]['found'] / counts[kind]['planted']:.2f}" for kind in KINDS),
        f"{planted['false'] / planted['runs']:.2f}",
        f"{null_alarms(counts):.2f}",
        *(f"{counts[kind]['false'] / counts[kind]['runs']:.2f}" for kind in NULLS),
    ]


HEADER = (
    ["operating point", "F1"]
    + [f"recall, {kind}" for kind in KINDS]
    + ["false, per run with changes", "false, per null run"]
    + [f"{kind} null" for kind in NULLS]
)


SETS = ["seeds", "F1, strict", "F1, exploratory", *(f"recall, {kind}, exploratory" for kind in KINDS)]
PEERS = ["method", "setting", "F1, tuned", "false, per null run, tuned", "F1, fresh", "false, per null run, fresh"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, nargs="+", default=[5000], help="first seed of each set of cases")
    parser.add_argument("--runs", type=int, default=25, help="cases of each kind")
    parser.add_argument("--peers", action="store_true", help="tune and measure the other methods too")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    settings = parser.parse_args()
    cases, found, sets = [], [], []
    start = time.perf_counter()
    for seed in settings.seed:
        some = [case(kind, seed + i) for kind in KINDS + NULLS for i in range(settings.runs)]
        there = [find_transitions(one.trajectories, operating_point="exploratory") for one in some]
        sets.append([f"{seed} to {seed + settings.runs - 1}", *_of_set(some, there)])
        print(*(f"{name}: {cell}" for name, cell in zip(SETS, sets[-1], strict=True)), sep="; ", flush=True)
        cases += some
        found += there
    seconds = (time.perf_counter() - start) / len(cases)
    rows = []
    for operating_point in OPERATING_POINTS:  # strict keeps those of the exploratory that are surer
        rows.append(row_of(operating_point, measure(cases, found, OPERATING_POINTS[operating_point])))
        print(*(f"{name}: {cell}" for name, cell in zip(HEADER, rows[-1], strict=True)), sep="\n  ")
    error, predictions = calibration_error(cases, found)
    note = (
        f"Seeds {', '.join(one[0] for one in sets)} of each kind, {len(cases)} runs,"
        f" {sum(len(one.planted) for one in cases)} planted changes."
        f" Expected calibration error {error:.3f} over {predictions} predictions; of those with a confidence of 0.8 or"
        f" more {sure_and_right(cases, found, 0.8):.0%} are right. {coverage(cases, found)}"
    )
    print(note, f"{seconds:.2f} s a run.")
    if settings.write:
        put_table("transitions", HEADER, rows, note)
        put_table("transition sets", SETS, sets, "The sets that the table above has together.")
    if settings.peers:
        rows = compared(cases, found, [case(kind, i) for kind in KINDS + NULLS for i in range(TUNED)])
        for row in rows:
            print(*row, sep=" | ")
        if settings.write:
            told = f"Tuned on seeds 0 to {TUNED - 1} of each kind, fresh: the cases above."
            put_table("transition peers", PEERS, rows, told)


if __name__ == "__main__":
    main()
