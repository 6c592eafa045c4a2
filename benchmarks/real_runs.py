"""Are the transitions of real training runs found, and nothing else? python benchmarks/real_runs.py [--quick] [--write]

Trains the built-in tasks and those of examples/, by default seeds 0 to 9, analyzes every run as `devi analyze` does,
and holds the reported transitions against dates that rules read off the curves:

  superposition    a feature of final norm > 0.5 enters where its norm crosses half its final value, from the fifth
                   checkpoint on. Matched one to one with transitions whose [onset / 1.1, end · 1.1] holds the date and
                   whose support names the feature.
  modular addition 'generalization' must overlap the 10-90% rise of test accuracy, 'memorization' that of train
                   accuracy; the twins (no weight decay, shuffled labels) must report no generalization.
  examples         every truth of real_truth.py that is due is found, and nothing of which it knows is false; with one
                   layer instead of two, no induction heads.
Every span must be at most one decade.

A second table gives F1, errors of onset and midpoint and alarms in null windows, against the truths of real_truth.py.

--quick leaves the learning coefficient out; --write puts the table into benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from real_truth import HEADER, Count, counted, has_rule, matches, row_of, truths
from scipy.optimize import linear_sum_assignment
from tables import put_table

from devi.analysis import Analysis, analyze
from devi.plan import planned
from devi.plugins import load
from devi.training import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--keep", type=Path, help="keep runs and results here")
    parser.add_argument("--only", default="", help="only the case of this name, in a table of its own")
    parser.add_argument("--seeds", default="0:10", help="first and, exclusive, last seed: 0:10")
    options = parser.parse_args()
    seeds = range(*(int(end) for end in options.seeds.split(":")))
    rows: list[list[object]] = []
    counts: dict[str, list[Count]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        place = options.keep or Path(scratch)
        for case, task, preset, settings, judge in CASES:
            if options.only not in ("", case):
                continue
            for seed in seeds:
                analysis = analyzed(place / f"{case}-{seed}", task, preset, {**settings, "seed": seed}, options.quick)
                row = [case, seed, *judge(analysis)]
                print(*row, sep=" | ", flush=True)
                rows.append(row)
                count = counted(analysis.trajectories, analysis.transitions, is_twin=judge is judge_twin)
                counts.setdefault(case, []).append(count)
    header = ["case", "seed", "true dates", "found", "missed", "unmatched", "widest span, decades", "verdict"]
    failed = [row for row in rows if row[-1] != "pass"]
    print(f"{len(rows) - len(failed)} of {len(rows)} pass")
    figures = [row_of(case, some) for case, some in counts.items()]
    figures.append(row_of("all", [one for some in counts.values() for one in some]))
    for row in figures:
        print(*row, sep=" | ")
    if options.write:
        note = f"{'Without' if options.quick else 'With'} the learning coefficient."
        seeds_told = "" if options.seeds == "0:10" else f", seeds {options.seeds}"
        name = f"real runs{options.only and ', ' + options.only}{seeds_told}"
        put_table(name, header, rows, f"{note} {len(rows) - len(failed)} of {len(rows)} pass.")
        put_table(name.replace("real runs", "real run figures"), HEADER, figures, note)


def analyzed(path: Path, task_name: str, preset: str | None, settings: dict[str, object], quick: bool) -> Analysis:
    task, plan = planned(load("task", task_name), settings, preset=preset)
    run = train(task, path, plan=plan, name=task_name, resume=path.exists())
    if quick:
        kept = [name for name in task.metrics() if name != "llc"]
        object.__setattr__(task, "metrics", lambda: kept)
    return analyze(run, cache=path.with_name(path.name + "-cache"))


def judge_superposition(analysis: Analysis) -> list[object]:
    norms = analysis.trajectories["feature_norm"].values  # (step, feature)
    steps = analysis.trajectories["step"].values
    dates = {}
    for feature in range(norms.shape[1]):
        final = norms[-1, feature]
        if final > 0.5:
            crossing = int(np.argmax(norms[:, feature] >= final / 2))
            if crossing >= 4:
                dates[feature] = float(steps[crossing])
    fits = np.array([[fits_feature(t, feature, date) for t in analysis.transitions] for feature, date in dates.items()])
    matched = assigned(fits)
    features = list(dates)
    missed = [f"{features[i]}@{dates[features[i]]:g}" for i in range(len(features)) if i not in matched]
    loose = [t for j, t in enumerate(analysis.transitions) if j not in matched.values()]
    width = widest(analysis)
    verdict = "pass" if not missed and len(loose) <= 1 and width <= 1 else "FAIL"
    return [
        " ".join(f"{feature}@{date:g}" for feature, date in dates.items()),
        len(matched),
        " ".join(missed) or "-",
        " ".join(described(t) for t in loose) or "-",
        f"{width:.2f}",
        verdict,
    ]


def judge_columns(analysis: Analysis) -> list[object]:
    true, found = truths(analysis.trajectories, is_twin=False), analysis.transitions
    pairs = matches(found, true)
    missed = [f"{one.label}@{one.middle:.0f}" for j, one in enumerate(true) if one.is_due and j not in pairs.values()]
    loose = [t for i, t in enumerate(found) if i not in pairs]
    width = widest(analysis)
    verdict = "pass" if not missed and not any(map(has_rule, loose)) and width <= 1 else "FAIL"
    return [
        " ".join(f"{one.label}@{one.middle:.0f}" + "(slow or early)" * (not one.is_due) for one in true) or "none",
        len(pairs),
        " ".join(missed) or "-",
        " ".join(described(t) for t in loose) or "-",
        f"{width:.2f}",
        verdict,
    ]


def judge_grokking(analysis: Analysis) -> list[object]:
    truth = {"generalization": rise(analysis, "test_accuracy")}
    memorized = rise(analysis, "train_accuracy")
    steps = analysis.trajectories["step"].values
    if ((steps >= memorized[0]) & (steps <= memorized[1])).sum() >= 2 and (steps < memorized[0]).sum() >= 4:
        truth["memorization"] = memorized
    found, missed = 0, []
    for label, (low, high) in truth.items():
        if any(t.label == label and t.onset <= high and t.end >= low for t in analysis.transitions):
            found += 1
        else:
            missed.append(label)
    others = [t for t in analysis.transitions if t.label not in truth]
    width = widest(analysis)
    verdict = "pass" if not missed and width <= 1 else "FAIL"
    dates = " ".join(f"{label} {low:g}-{high:g}" for label, (low, high) in truth.items())
    return [
        dates,
        found,
        " ".join(missed) or "-",
        " ".join(described(t) for t in others) or "-",
        f"{width:.2f}",
        verdict,
    ]


def judge_twin(analysis: Analysis) -> list[object]:
    alarms = [t for t in analysis.transitions if "generalization" in t.label]
    final = float(analysis.trajectories["test_accuracy"][-1])
    others = " ".join(described(t) for t in analysis.transitions) or "-"
    verdict = "pass" if not alarms else "FAIL"
    return [f"none (test accuracy ends at {final:.2f})", len(alarms), "-", others, f"{widest(analysis):.2f}", verdict]


def fits_feature(transition, feature: int, date: float) -> bool:
    named = any(
        s.metric in ("feature_norm", "feature_dimensionality") and s.index == feature for s in transition.support
    )
    return named and transition.onset / 1.1 <= date <= transition.end * 1.1


def assigned(fits: np.ndarray) -> dict[int, int]:
    """One-to-one matching of the most dates to transitions."""
    if fits.size == 0:
        return {}
    rows, columns = linear_sum_assignment(fits, maximize=True)
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if fits[i, j]}


def rise(analysis: Analysis, metric: str) -> tuple[float, float]:
    """Steps at which a metric has first done 10% and 90% of its way from its first to its largest value."""
    values, steps = analysis.trajectories[metric].values, analysis.trajectories["step"].values
    share = (values - values[0]) / (values.max() - values[0])
    return float(steps[np.argmax(share >= 0.1)]), float(steps[np.argmax(share >= 0.9)])


def widest(analysis: Analysis) -> float:
    return max((float(np.log10(t.end / t.onset)) for t in analysis.transitions), default=0.0)


def described(transition) -> str:
    return f"[{transition.label} {transition.onset:.0f}-{transition.end:.0f} p={transition.confidence:.2f}]"


EXAMPLES = Path(__file__).parent.parent / "examples"
CASES = [
    ("superposition", "superposition", None, {}, judge_superposition),
    ("superposition-tight", "superposition", "tight", {}, judge_superposition),
    ("mlp", "modular_addition", None, {}, judge_grokking),
    ("transformer", "modular_addition", "p43", {}, judge_grokking),
    ("mlp-no-decay", "modular_addition", None, {"weight_decay": 0.0}, judge_twin),
    ("mlp-shuffled", "modular_addition", None, {"shuffle_labels": True}, judge_twin),
    ("transformer-no-decay", "modular_addition", "p43", {"weight_decay": 0.0}, judge_twin),
    ("deep-linear", f"{EXAMPLES}/deep_linear.py:DeepLinear", None, {}, judge_columns),
    ("deep-linear-three", f"{EXAMPLES}/deep_linear.py:DeepLinear", "three", {}, judge_columns),
    ("matrix-completion", f"{EXAMPLES}/deep_linear.py:DeepLinear", "completion", {}, judge_columns),
    ("digit-addition", f"{EXAMPLES}/digit_addition.py:DigitAddition", None, {}, judge_columns),
    ("induction", f"{EXAMPLES}/induction.py:Induction", None, {}, judge_columns),
    ("induction-one-layer", f"{EXAMPLES}/induction.py:Induction", None, {"layers": 1}, judge_columns),
]


if __name__ == "__main__":
    main()
