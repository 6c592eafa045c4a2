"""The goals of the issues beside what the tables of README.md say, and whether they are met.

    python benchmarks/goals.py [--write]

Nothing is measured here: each number is read from the table that its script wrote. Run it after any of them.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tables import put_table, read_table

from devi.known.cases import cases

NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")
HMC, SGLD = "llc accuracy hmc", "llc accuracy sgld"
KINDS = {
    "regular": "2% of the exact value", "monomial": "2% of the exact value", "two-layer linear": "5% of λ",
    "superposition": "3% of λ", "deep linear": "10% of λ", "cusp": "10% of λ", "normal crossing": "10% of λ",
}  # fmt: skip
TRUSTED = ("regular", "monomial", "two-layer linear", "superposition")  # of which few may be flagged
PEER_COLUMNS = ("write, µs", "on disk, µs", "stacks of 32 from opening on, µs", "stacks again, µs")


Told = tuple[str, str, str, float | None]  # the fields of a Goal behind its issue


class Goal(NamedTuple):
    """`bound` is a sign and a number: at most, at least, or just so; `found` is read from the table."""

    issue: int
    what: str
    table: str
    bound: str
    found: float | None


def number(text: str, which: int = 0) -> float:
    return float(NUMBER.findall(text)[which].replace(",", ""))


def cell(table: str, row: str, column: str) -> float:
    """Of the first row that begins so."""
    found = next(one for one in read_table(table).rows if next(iter(one.values())).startswith(row))
    return number(found[column])


def every(table: str, *columns: str) -> list[float]:
    found = [number(row[column]) for row in read_table(table).rows for column in columns if NUMBER.search(row[column])]
    assert found, f"the table {table!r} is not there, or says nothing of {columns}"  # a sum of nothing would meet = 0
    return found


def noted(table: str, pattern: str) -> float:
    found = re.search(pattern, read_table(table).note)
    assert found is not None, f"the note of {table!r} has no {pattern!r}"
    return float(found[1])


def percent(table: str, kind: str, column: str) -> float | None:
    """None where there was nothing to count."""
    row = next(one for one in read_table(f"{table}, by kind").rows if one["kind"] == kind)
    share = re.search(r"\((\d+)%\)", row[column])
    return float(share[1]) if share else None


def flagged_of_good() -> float:
    """Percent of sgld's estimates within their bound that are flagged, where a flag is not what is right."""
    out_of_reach = {case.name for case in cases() if case.must_be_unresolved}
    good = sum(number(row["within"]) for row in read_table(SGLD).rows if row["case"] not in out_of_reach)
    return 100 * (good - cell(f"{SGLD}, by kind", "all", "unflagged within the bound")) / good


def checkpoints() -> Iterable[Told]:
    lost = ("acknowledged lost", "more than one extra", "damaged", "not resumable", "other bits", "not told")
    yield (
        "kills: checkpoints lost, wrong or untold, runs not resumable",
        "survival",
        "= 0",
        sum(every("survival", *lost)),
    )
    yield "the same with a full disk", "full disk", "= 0", sum(every("full disk", *lost))
    other = every("training kills", "not resumed", "checkpoints with other bits")
    yield "kills of `devi train`: checkpoints with other bits", "training kills", "= 0", sum(other)
    harm = every("corruption", "unnoticed", "crashes, hangs", "wrong values")
    yield "damages unnoticed, crashes, hangs, wrong values", "corruption", "= 0", sum(harm)
    yield "untouched checkpoints read, %, least", "corruption", "≥ 99", min(every("corruption", "untouched read"))
    peers = [row for row in read_table("checkpoints").rows if row["way"] != "devi"]
    for column in PEER_COLUMNS:
        least = min(number(row[column], -1) for row in peers if NUMBER.search(row[column]))
        yield f"{column.removesuffix(', µs')}: times devi's, the best peer", "checkpoints", "≥ 1", least
    for size, goal in (("18", 3), ("9,924", 3), ("226,816", 8)):
        yield (
            f"share of a training step, {size} parameters, %",
            "checkpoint share",
            f"< {goal}",
            cell("checkpoint share", size, "share"),
        )
    yield "100,000 checkpoints open, ms", "open run", "< 100", cell("open run", "9,732", "open, ms")
    yield (
        "copies of a large model in memory, saving",
        "large model",
        "< 3",
        cell("large model", "save the model", "copies at the peak"),
    )
    yield "the same, converting", "convert memory", "< 3", max(every("convert memory", "copies"))


def coefficients() -> Iterable[Told]:
    table = f"{HMC}, by kind"
    for kind, bound in KINDS.items():
        yield (
            f"hmc, {kind}: unflagged within {bound}, %",
            table,
            "= 100",
            percent(HMC, kind, "unflagged within the bound"),
        )
    yield "hmc: unflagged within 3 errors, %", table, "≥ 95", percent(HMC, "all", "unflagged within 3 errors")
    for kind in TRUSTED:
        share = percent(HMC, kind, "unflagged and error below 5%")
        yield f"hmc, {kind}: unflagged with an error below 5%, %", table, "≥ 80", share
    table = f"{SGLD}, by kind"
    yield "sgld: unflagged within 15% of λ, %", table, "= 100", percent(SGLD, "all", "unflagged within the bound")
    yield "sgld: good estimates that are flagged, %", SGLD, "≤ 10", flagged_of_good()
    worst = max(every("llc fixed steps", "unflagged, worst"))
    yield "sgld at fixed steps: unflagged, % off, worst", "llc fixed steps", "≤ 15", worst
    for sampler in ("hmc", "sgld"):
        table = f"llc displaced {sampler}"
        missed = every(table, "displaced, not flagged", "negative, not flagged")
        yield f"{sampler}: displaced and not flagged", table, "= 0", sum(missed)
        minima = [row["minimum flagged headroom"] for row in read_table(table).rows]
        assert minima, f"the table {table!r} is not there"
        yield f"{sampler}: minima flagged", table, "= 0", float(len(minima) - minima.count("no"))
    yield "curves of two seeds agree, % of the checkpoints", "llc curve", "≥ 95", cell("llc curve", "sgld", "agreement")


def speed() -> Iterable[Told]:
    for row in read_table("sampling speed").rows:
        times = number(row["× 1.3.2"])
        yield f"sampling, {row['work']}: times devinterp 1.3.2", "sampling speed", f"≥ {row['goal']}", times
    yield (
        "sampling, transformer, batch: % of the matrix peak",
        "roofline",
        "≥ 60",
        cell("roofline", "transformer p=113, batch", "of the matrix peak"),
    )
    yield (
        "training, transformer: times plain einsum",
        "transformer training",
        "≥ 3",
        cell("transformer training", "devi", "× faster"),
    )
    for way in ("full batch", "batch 128"):
        yield (
            f"16 seeds of the MLP at once, {way}: times one after another",
            "train seeds",
            "≥ 4",
            cell("train seeds", f"MLP p=53, embed 12, width 48, {way}", "× faster than the better of the two"),
        )
    yield (
        "analysis without the coefficient: metrics, % of an interval",
        "analyze cost",
        "< 5",
        cell("analyze cost", "the four metrics", "per interval, %"),
    )
    yield "the same, the whole process, s", "analyze cost", "< 15", cell("analyze cost", "devi analyze", "seconds")
    for command, goal in (("devi --help", 0.3), ("devi show", 0.5)):
        yield f"`{command}`, s", "startup", f"≤ {goal}", cell("startup", command, "median, s")
    apart = max(abs(one - 1) for one in every("checkpoint cost", "× 50, time"))
    yield "50 to 800 checkpoints: off linear, %", "checkpoint cost", "≤ 10", 100 * apart
    memory = every("checkpoint cost", "× 50, memory")
    yield "the same: memory, % more", "checkpoint cost", "≤ 20", 100 * (max(memory) - 1)


def transitions() -> Iterable[Told]:
    table = "transitions"
    yield "F1, exploratory", table, "≥ 0.88", cell(table, "exploratory", "F1")
    yield "F1, strict", table, "≥ 0.82", cell(table, "strict", "F1")
    for kind, goal in (("jump", "0.95"), ("sigmoid", "0.80"), ("ramp", "0.75"), ("kink", "0.50")):
        yield f"recall of a {kind}, exploratory", table, f"≥ {goal}", cell(table, "exploratory", f"recall, {kind}")
    for null in ("false, per null run", "slingshot null"):
        yield f"{null}, strict", table, "≤ 0.05", cell(table, "strict", null)
        yield f"{null}, exploratory", table, "≤ 0.12", cell(table, "exploratory", null)
    yield "oscillation null, exploratory", table, "≤ 0.25", cell(table, "exploratory", "oscillation null")
    yield "expected calibration error", table, "≤ 0.08", noted(table, r"calibration error (\S+) over")
    yield "right of those with a confidence of 0.8 or more, %", table, "≥ 90", noted(table, r"0\.8 or more (\d+)%")
    holds = noted(table, r"holds it in (\d+)%")
    yield "90% interval of the midpoint holds it, %, at least", table, "≥ 85", holds
    yield "the same, at most", table, "≤ 95", holds
    table = "transition peers"
    peers = [row for row in read_table(table).rows if not row["method"].startswith("devi")]
    best = max(peers, key=lambda row: number(row["F1, fresh"]))
    yield (
        "F1 ahead of the best peer, strict",
        table,
        "≥ 0.20",
        cell(table, "devi, strict", "F1, fresh") - number(best["F1, fresh"]),
    )
    false = "false, per null run, fresh"
    yield (
        "false alarms, as a share of that peer's",
        table,
        "≤ 0.33",
        cell(table, "devi, strict", false) / number(best[false]),
    )
    table = "real run figures"
    yield "real runs: F1", table, "≥ 0.93", cell(table, "all", "F1")
    yield "real runs: alarms per null window", table, "≤ 0.05", cell(table, "all", "alarms per window")
    yield "real runs: onset off, decades, median", table, "≤ 0.10", cell(table, "all", "onset off, decades")
    yield "real runs: midpoint off, decades, median", table, "≤ 0.05", cell(table, "all", "midpoint off, decades")
    table, one_thread = "detection speed", "processor time, one thread, s"
    yield "5 metrics × 200 checkpoints, s of one thread", table, "≤ 0.3", cell(table, "5 metrics", one_thread)
    yield "400 features × 300 checkpoints, s of one thread", table, "≤ 20", cell(table, "400 columns", one_thread)


ISSUES: dict[int, Callable[[], Iterable[Told]]] = {
    3: checkpoints, 4: coefficients, 5: speed, 6: transitions,
}  # fmt: skip
MEETS: dict[str, Callable[[float, float], bool]] = {
    "≥": float.__ge__, "≤": float.__le__, "<": float.__lt__, "=": float.__eq__,
}  # fmt: skip


def goals() -> list[Goal]:
    return [Goal(issue, *each) for issue, told in ISSUES.items() for each in told()]


def verdict(goal: Goal) -> str:
    if goal.found is None:
        return "nothing to count"
    sign, _, bound = goal.bound.partition(" ")
    return "met" if MEETS[sign](float(goal.found), number(bound)) else "**missed**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    write = parser.parse_args().write
    rows = [
        (one.issue, one.what, one.bound, "-" if one.found is None else f"{one.found:.4g}", verdict(one), one.table)
        for one in goals()
    ]
    for row in rows:
        print(*row, sep=" | ")
    missed = sum(row[4] == "**missed**" for row in rows)
    note = f"Read from the tables below by `goals.py`, none measured for it: {missed} of {len(rows)} missed."
    print(note)
    if write:
        put_table("goals", ("issue", "goal", "bound", "found", "", "table"), rows, note, is_measured=False)


if __name__ == "__main__":
    main()
