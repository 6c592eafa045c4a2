"""Does the LLC curve of a grokking run repeat, and are its turns resolved? python benchmarks/llc_curve.py [--write]

Trains modular_addition (MLP, p = 53), estimates all checkpoints with the default sampler from two of its seeds, each
with settings that it calibrated for itself, and holds the two curves against each other:

  agreement       share of the checkpoints where they differ by at most 2 of their joint standard errors
  spread          standard deviation of the difference in those errors: 1 if they are right, more if they are too small
  rise, fall      λ̂ across the 10-90% rise of train accuracy (memorization) and of test accuracy (generalization);
                  resolved where the change is more than 5 of its errors in both curves

--write puts the table into benchmarks/README.md, and the figure into docs/figures.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from tables import put_table

from devi.analysis import Analysis, analyze
from devi.plan import planned
from devi.plugins import load
from devi.report import palette
from devi.report.canvas import PAGE, legend_above, new_figure, save, step_axis, styled
from devi.report.step_axis import StepAxis
from devi.training import train

AGREEING, RESOLVED = 2.0, 5.0  # standard errors
FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "llc_curve"
HEADER = ("sampler", "checkpoints", "agreement", "spread of z", "largest z", "flagged beyond information",
          "rise at memorization", "fall at generalization", "seconds")  # fmt: skip


class Change(NamedTuple):
    """λ̂ from one checkpoint to another, in one curve."""

    before: float
    after: float
    error: float  # of the difference

    @property
    def is_resolved(self) -> bool:
        return abs(self.after - self.before) > RESOLVED * self.error

    def __str__(self) -> str:
        return f"{self.before:.0f} → {self.after:.0f} ({(self.after - self.before) / self.error:+.0f} errors)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--sampler", default="", help="another than the default")
    parser.add_argument("--keep", type=Path, help="keep the run and its results here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = options.keep or Path(scratch)
        began = time.perf_counter()
        analyses = [curve(place, seed, options.sampler) for seed in (0, 1)]
        row = [*compared(analyses), f"{time.perf_counter() - began:.0f}"]
    print(*zip(HEADER, row, strict=True), sep="\n")
    if options.write:
        put_table("llc curve", HEADER, [row], "Two seeds of the sampler, each calibrated for itself.")
        FIGURE.parent.mkdir(parents=True, exist_ok=True)
        save(drawn([analysis.trajectories for analysis in analyses]), FIGURE)


def curve(place: Path, seed: int, sampler: str) -> Analysis:
    """The run, trained or taken up, with its accuracies and its learning coefficients from one seed of the sampler."""
    task, plan = planned(load("task", "modular_addition"), {})
    object.__setattr__(task, "metrics", lambda: ["losses", "llc"])
    path = place / "mlp"
    run = train(task, path, plan=plan, name="modular_addition", resume=path.exists())
    settings = {"llc": {"seed": seed, **({"sampler": sampler} if sampler else {})}}
    name = f"{sampler or 'default'} seed {seed}"
    tell = lambda what, share: print(f"\r{name}: {what} {share:4.0%}  ", end="", file=sys.stderr)  # noqa: E731
    return analyze(run, settings=settings, cache=place / f"{name} cache", progress=tell)


def compared(analyses: list[Analysis]) -> list[str]:
    curves = [analysis.trajectories for analysis in analyses]
    z = difference(*curves)
    flagged = [len(analysis.unhealthy) for analysis in analyses]
    ranges = [rise(curves[0], name) for name in ("train_accuracy", "test_accuracy")]
    changes = [[change(one, *ends) for one in curves] for ends in ranges]
    return [
        analyses[0].settings["llc"]["sampler"],
        str(len(z)),
        f"{np.mean(np.abs(z) <= AGREEING):.1%}",
        f"{np.std(z):.2f}",
        f"{np.abs(z).max():.1f} at step {int(curves[0]['step'][np.abs(z).argmax()])}",
        " and ".join(map(str, flagged)),
        *(
            "; ".join(map(str, both)) + (", resolved" if all(each.is_resolved for each in both) else ", NOT resolved")
            for both in changes
        ),
    ]


def difference(first: xr.Dataset, second: xr.Dataset) -> np.ndarray:
    """(λ̂₁ − λ̂₂) in standard errors of the difference, (step,)."""
    return (first["llc"] - second["llc"]).values / np.hypot(first["llc_se"].values, second["llc_se"].values)


def rise(curve: xr.Dataset, metric: str) -> tuple[int, int]:
    """The last checkpoint before a metric has done 10% of its way up, and the first at which it has done 90%."""
    values = curve[metric].values
    share = (values - values[0]) / (values.max() - values[0])
    return max(0, int(np.argmax(share >= 0.1)) - 1), int(np.argmax(share >= 0.9))


def change(curve: xr.Dataset, before: int, after: int) -> Change:
    llc, error = curve["llc"].values, curve["llc_se"].values
    return Change(float(llc[before]), float(llc[after]), float(np.hypot(error[before], error[after])))


@styled
def drawn(curves: list[xr.Dataset]) -> Figure:
    """Accuracies, both curves with 2 errors to each side on a log axis, and their difference in errors."""
    steps = curves[0]["step"].values
    axis = StepAxis.of(steps)
    x = np.array([axis.position(step) for step in steps])
    figure = new_figure(PAGE, 5.2)
    top, middle, bottom = figure.subplots(3, 1, height_ratios=(1, 2, 1.2))
    for index, name in enumerate(("train_accuracy", "test_accuracy")):
        top.plot(x, curves[0][name].values, label=name.replace("_", " "), **palette.line(index))
    top.set_ylabel("accuracy")
    for index, one in enumerate(curves):
        look = palette.style(index)
        llc, error = one["llc"].values, 2 * one["llc_se"].values
        middle.plot(x, llc, label=f"λ̂, seed {index} ± 2 standard errors", **palette.line(index))
        middle.fill_between(x, llc - error, llc + error, color=look.colour, alpha=0.25, lw=0)
    middle.set_yscale("log")
    middle.set_ylabel("λ̂")
    bottom.axhspan(-AGREEING, AGREEING, color=palette.SHADE, alpha=0.2, lw=0)
    bottom.plot(x, difference(*curves), ls="", marker="o", ms=2.5, color=palette.BLACK)
    bottom.set_ylabel("difference\n(standard errors)")
    for axes in (top, middle, bottom):
        step_axis(axes, axis, labelled=axes is bottom)
    legend_above(top)
    legend_above(middle)
    for metric in ("train_accuracy", "test_accuracy"):
        for axes in (top, middle, bottom):
            axes.axvspan(
                *(x[place] for place in rise(curves[0], metric)), color=palette.SHADE, alpha=0.22, lw=0, zorder=0
            )
    figure.align_ylabels([top, middle, bottom])
    return figure


if __name__ == "__main__":
    main()
