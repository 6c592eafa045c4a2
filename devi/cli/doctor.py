"""devi doctor: learning coefficients whose value is known, estimated on this machine."""

from __future__ import annotations

import json
import math
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from typer import Exit, Option

from devi.cli.answer import print_document
from devi.cli.exit_codes import Exit as Code

if TYPE_CHECKING:
    from devi.known.checkup import Finding

SCHEMA = "devi/doctor/1"
HEADER = ("case", "truth", "estimate ± error", "off", "flags", "seconds", "verdict")


def doctor(
    sampler: Annotated[str | None, Option(help="hmc, mala, sgld, psgld or devinterp  [default: as analyze]")] = None,
    case: Annotated[list[str] | None, Option(help="Only this case; repeatable; 'all': every one known")] = None,
    seed: Annotated[int, Option(help="Seed of the sampler")] = 0,
    workers: Annotated[int | None, Option(help="Cases at a time  [default: one a core]")] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON document and nothing else")] = False,
) -> None:
    """Estimate learning coefficients whose true value is known, and print truth beside estimate.

    Every setting is chosen as `devi analyze` chooses it. A flagged estimate says itself that it cannot be relied on;
    one that is not flagged and off by more than 3 standard errors or 10% is wrong, and the exit code is then 4. The
    normal crossing 2,2 has multiplicity 2: no affordable nβ reaches its coefficient, so it must be flagged unresolved.

    Example: devi doctor --json
    """
    from devi.cli.progress import progress
    from devi.executors import executor_for, in_order
    from devi.forks import given_cores
    from devi.known.cases import cases, named
    from devi.known.checkup import CASES, examined
    from devi.metrics.learning_coefficient import LearningCoefficient
    from devi.task import with_settings

    chosen = cases() if case == ["all"] else named(case or CASES)
    given = {"seed": seed} if sampler is None else {"seed": seed, "sampler": sampler}
    metric = with_settings(LearningCoefficient, given, kind="metric", called="llc")
    workers = min(given_cores(), len(chosen)) if workers is None else workers
    executor = executor_for(workers)
    widths = (max(len(one.name) for one in chosen), 5, 17, 6, 17, 7, 7)
    began = time.perf_counter()
    findings: list[Finding] = []
    printer = sys.stdout  # the bars take sys.stdout over, which is right only where both show on one screen
    with progress() as shown:

        def line(cells: tuple[str, ...]) -> None:
            text = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
            print(text, file=None if printer.isatty() else printer, flush=True)

        def tell(share: float = 0.0) -> None:
            shown.tell(f"{len(chosen)} cases", (len(findings) + share) / len(chosen))

        tell()
        # A case worked on elsewhere cannot report how far it is; one worked on here can.
        work = partial(examined, metric=metric, progress=tell if workers == 1 else None)
        for finding in in_order(executor.done(work, chosen)):
            if not as_json:
                if not findings:
                    line(HEADER)
                line(row(finding))
            findings.append(finding)
            tell()
    words = [finding.verdict.word for finding in findings]
    if as_json:
        print_document(json.dumps(document(findings, sampler=metric.sampler, seed=seed), allow_nan=False))
    else:
        count = ", ".join(f"{words.count(word)} {word}" for word in ("right", "flagged", "wrong"))
        print(f"{count} of {len(words)}, by {metric.sampler}, in {time.perf_counter() - began:.0f} s")
        for finding in findings:
            if finding.verdict.word == "wrong":
                print(f"wrong: {finding.case.name}: {finding.verdict.reason}")
    if "wrong" in words:
        raise Exit(Code.WRONG)


def row(finding: Finding) -> tuple[str, ...]:
    """The cells of a finding's line, below HEADER."""
    return (
        finding.case.name,
        f"{finding.case.truth:.4g}",
        f"{finding.estimate:.3f} ± {finding.error:.3f}",
        f"{100 * (finding.estimate / finding.case.truth - 1):+.1f}%",
        finding.flags or "-",
        f"{finding.seconds:.1f}",
        finding.verdict.word,
    )


def document(findings: list[Finding], *, sampler: str, seed: int) -> dict[str, Any]:
    """What --json prints."""
    import devi

    return {
        "schema": SCHEMA,
        "sampler": sampler,
        "seed": seed,
        "version": devi.__version__,
        "cases": [
            {
                "name": one.case.name,
                "kind": one.case.kind,
                "truth": one.case.truth,
                "multiplicity": one.case.multiplicity,
                "source": one.case.note,
                "estimate": _number(one.estimate),
                "error": _number(one.error),
                "expected": one.expected,
                "n_beta": one.n_beta,
                "localization": one.localization,
                "flags": one.flags,
                "seconds": round(one.seconds, 2),
                "verdict": one.verdict.word,
                "reason": one.verdict.reason,
            }
            for one in findings
        ],
        "right": sum(one.verdict.word == "right" for one in findings),
        "flagged": sum(one.verdict.word == "flagged" for one in findings),
        "wrong": sum(one.verdict.word == "wrong" for one in findings),
    }


def _number(value: float) -> float | None:
    """JSON has no word for what is not a number."""
    return value if math.isfinite(value) else None
