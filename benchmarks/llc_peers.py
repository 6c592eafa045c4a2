"""devi's hmc beside devinterp 1.3.2 and 2.0.1, each at the best of three published settings, at devi's gradients.

    python benchmarks/llc_accuracy.py --peers [--case NAME]… [--write]

A peer takes as many gradients as devi's final sampling took, at most MOST: more change its error, not its bias. "Best"
is the setting whose estimate is nearest to λ: a choice that only somebody who knows λ can make, in the peers' favour.
devinterp 1.3.2 cannot be installed beside 2: it is put into a folder of its own under ~/.cache/devi, and shadows
version 2 in its own process.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tables import put_table, rows_of

from devi.known.cases import cases, named
from devi.metrics.learning_coefficient import LearningCoefficient

HERE = Path(__file__).parent
OLD = Path.home() / ".cache" / "devi" / "devinterp-1.3.2"
MOST = 30_000
NEAR = 5  # per cent
SUMMARY = ("by", "cases", f"within {NEAR}% of λ", "further off, flagged", "further off, not flagged")
HEADER = ("case", "λ", "by", "setting", "estimate ± error", "off", "flags", "gradients", "seconds")


def old_version() -> Path:
    """The folder that holds devinterp 1.3.2, made if need be; what it shares with version 2 is taken from there."""
    if not (OLD / "devinterp").is_dir():
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(OLD),
             "devinterp==1.3.2", "cloudpickle", "einops"],
            check=True,
        )  # fmt: skip
    return OLD


def started(*before: Path) -> subprocess.Popen[str]:
    paths = [*(str(path) for path in before), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, str(HERE / "llc_peer_child.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )  # fmt: skip


def asked(child: subprocess.Popen[str], case: str, gradients: int) -> dict[str, Any]:
    assert child.stdin is not None
    assert child.stdout is not None
    print(json.dumps({"case": case, "gradients": gradients}), file=child.stdin, flush=True)
    answer = child.stdout.readline()
    if not answer:
        raise SystemExit(f"the peer's process ended at case {case}; run it by hand: {' '.join(map(str, child.args))}")
    return json.loads(answer)


def off(estimate: float, truth: float) -> str:
    return f"{100 * (estimate / truth - 1):+.0f}%" if math.isfinite(estimate) else "not a number"


def summary(table: Sequence[Sequence[str]]) -> list[list[str]]:
    """Of each way: how many of its estimates are near λ, and how many of the others say by a flag that they are not."""
    rows = []
    for way in dict.fromkeys(row[2] for row in table):
        found = [
            (float(row[5].rstrip("%")) if row[5].endswith("%") else math.inf, row[6]) for row in table if row[2] == way
        ]
        far = [flags for distance, flags in found if abs(distance) > NEAR]
        silent = sum(flags in ("-", "has none") for flags in far)
        rows.append([way, str(len(found)), str(len(found) - len(far)), str(len(far) - silent), str(silent)])
    return rows


def peers(names: Sequence[str] | None, write: bool) -> None:
    children = [started(old_version()), started()]
    rows = []
    print(*HEADER, sep=" | ")
    for case in named(names) if names else cases():
        began = time.perf_counter()
        found = LearningCoefficient(sampler="hmc").over(case.run())
        seconds = time.perf_counter() - began
        gradients = int(found.attrs["gradients"])
        mean, error = found["llc"].item(), found["llc_se"].item()
        rows.append([
            case.name, f"{case.truth:.4g}", "devi hmc", "automatic", f"{mean:.3f} ± {error:.3f}", off(mean, case.truth),
            found["llc_flags"].item() or "-", f"{gradients:,}", f"{seconds:.1f}",
        ])  # fmt: skip
        print(*rows[-1], sep=" | ", flush=True)
        for child in children:
            answer = asked(child, case.name, min(gradients, MOST))

            def distance(one: dict[str, Any], truth: float = case.truth) -> float:
                return abs(one["estimate"] - truth) if math.isfinite(one["estimate"]) else math.inf

            best = min(answer["results"], key=distance)
            others = ", ".join(
                f"{one['setting']} {off(one['estimate'], case.truth)}" for one in answer["results"] if one is not best
            )
            rows.append([
                case.name, f"{case.truth:.4g}", f"devinterp {answer['version']}", f"{best['setting']} (else {others})",
                f"{best['estimate']:.3f} ± {best['error']:.3f}", off(best["estimate"], case.truth), "has none",
                f"{min(gradients, MOST):,}", f"{best['seconds']:.1f}",
            ])  # fmt: skip
            print(*rows[-1], sep=" | ", flush=True)
        if write:  # after each case: all of them take two hours; what other runs found of other cases stays
            order = {one.name: place for place, one in enumerate(cases())}
            others = [row for row in rows_of("llc peers") if row[0] in order and row[0] not in {row[0] for row in rows}]
            table = sorted([*others, *rows], key=lambda row: order[row[0]])
            put_table("llc peers", HEADER, table, f"One seed, one thread a process; peers: at most {MOST:,} gradients.")
            put_table("llc peers, summary", SUMMARY, summary(table), "Of the cases in the table above.")
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
