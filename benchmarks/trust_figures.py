"""The figures and the table of numbers of docs/trust.md: python benchmarks/trust_figures.py [--grokking]

Five runs of the sampler whose answer is known: a good one, a step size 10 times too large, one 64 times too small, a
checkpoint that is off its minimum, and a crossing of multiplicity 2 that no affordable nβ resolves. Then the sweep of
`devi calibrate` on the first; with --grokking also on a trained MLP (modular addition, p = 53): a minute more.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tables import put_table

from devi.known.cases import named
from devi.known.memory_run import MemoryRun
from devi.metrics.learning_coefficient import LearningCoefficient
from devi.plan import planned
from devi.plugins import load
from devi.report import palette
from devi.report.canvas import PAGE, new_figure, save, styled
from devi.report.sweep_figure import sweep_figure
from devi.sampling.calibration import calibrate
from devi.sampling.settings import CHOSEN
from devi.sampling.sweep import sweep
from devi.training import train

DOCS = Path(__file__).parents[1] / "docs"
REGULAR, CROSSING = "regression d=5 condition=10 n=100", "crossing 2,2"
TOO_LARGE, TOO_SMALL, AWAY = 10.0, 1 / 64, 0.5  # times the step size; standard deviation of the displacement
HEADER = (
    "run",
    "truth",
    "λ̂ ± standard error",
    "off by",
    "uncorrected",
    "virial",
    "R-hat",
    "effective draws",
    "headroom",
    "flags",
)


class Shown(NamedTuple):
    name: str
    truth: float
    found: xr.Dataset  # one checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grokking", action="store_true")
    options = parser.parse_args()
    runs = shown_runs()
    put_table("trust", HEADER, [row(each) for each in runs], "One seed.", page=DOCS / "trust.md")
    save(drawn(runs), DOCS / "figures" / "trust")
    run = named([REGULAR])[0].run()
    save(sweep_figure(sweep(run, calibrate(run))), DOCS / "figures" / "sweep_known")
    if options.grokking:
        with tempfile.TemporaryDirectory() as scratch:
            task, plan = planned(load("task", "modular_addition"), {})
            trained = train(task, Path(scratch) / "mlp", plan=plan, name="modular_addition")
            save(sweep_figure(sweep(trained, calibrate(trained))), DOCS / "figures" / "sweep_grokking")


def shown_runs() -> list[Shown]:
    regular, crossing = named([REGULAR, CROSSING])
    settings = calibrate(regular.run())
    fixed: dict[str, Any] = {name: getattr(settings, name) for name in CHOSEN}

    def at(run: Any, step_size: float) -> xr.Dataset:
        return LearningCoefficient(sampler="sgld", **{**fixed, "step_size": step_size}).over(run).isel(step=0)

    model, size = regular.point(), settings.step_size
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter += AWAY * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    displaced = MemoryRun.of(regular.task, [model])
    # Its own settings, nβ climbing included: what it has to say is that they do not help.
    unresolved = LearningCoefficient(sampler="hmc").over(crossing.run()).isel(step=0)
    return [
        Shown("good", regular.truth, at(regular.run(), size)),
        Shown(f"step size {TOO_LARGE:g} times too large", regular.truth, at(regular.run(), size * TOO_LARGE)),
        Shown(f"step size {1 / TOO_SMALL:g} times too small", regular.truth, at(regular.run(), size * TOO_SMALL)),
        Shown("checkpoint off its minimum", regular.truth, at(displaced, size)),
        Shown("crossing of multiplicity 2", crossing.truth, unresolved),
    ]


def row(each: Shown) -> list[str]:
    found = {
        name: float(each.found[f"llc{name}"]) for name in ("", "_se", "_raw", "_virial", "_rhat", "_ess", "_headroom")
    }
    if not np.isfinite(found[""]):
        return [each.name, f"{each.truth:g}", "none", "-", "-", "-", "-", "-", str(each.found["llc_flags"].values)]
    return [
        each.name,
        f"{each.truth:g}",
        f"{found['']:.3f} ± {found['_se']:.3f}",
        f"{found[''] / each.truth - 1:+.0%}",
        f"{found['_raw']:.3g}",
        f"{found['_virial']:.2f}",
        f"{found['_rhat']:.2f}",
        f"{found['_ess']:.0f}",
        f"{found['_headroom']:.2g}",
        str(each.found["llc_flags"].values) or "none",
    ]


@styled
def drawn(runs: list[Shown]) -> Figure:
    """One row for each run: the traces of four chains, the virial with its band, λ̂ ± 2 errors beside the truth."""
    figure = new_figure(PAGE, 0.4 + 1.2 * len(runs))
    grid = figure.subplots(len(runs), 3, squeeze=False, width_ratios=(3.2, 1, 1.4))
    for (left, middle, right), each in zip(grid, runs, strict=True):
        _traces(left, each)
        _virial(middle, each)
        _estimate(right, each)
    grid[-1, 0].set_xlabel("draw (after burn-in)")
    grid[-1, 1].set_xlabel("virial")
    grid[-1, 2].set_xlabel("λ̂, as a multiple of the true λ")
    return figure


def _traces(axes: Axes, each: Shown) -> None:
    trace = each.found["llc_trace"]
    for chain in range(min(4, trace.sizes["chain"])):
        axes.plot(trace["draw"], trace[chain], lw=0.6, color=palette.style(chain).colour)
    flags = str(each.found["llc_flags"].values) or "none"
    axes.set_title(f"{each.name}   flags: {flags.replace(',', ', ')}", loc="left", pad=3)
    axes.set_ylabel("nβ·(L − L*)")
    axes.locator_params(nbins=4)
    if np.nanmax(np.abs(np.where(np.isfinite(trace), trace, np.nan))) > 1e4:
        axes.set_yscale("symlog")


def _virial(axes: Axes, each: Shown) -> None:
    axes.axvspan(0.9, 1.1, color=palette.SKY, alpha=0.3, lw=0)
    value = float(each.found["llc_virial"])
    _point(axes, value, 0.0, (0.0, 2.0))


def _estimate(axes: Axes, each: Shown) -> None:
    axes.axvline(1.0, color=palette.GUIDE, lw=0.9, ls=(0, (4, 2)))
    _point(axes, float(each.found["llc"]) / each.truth, 2 * float(each.found["llc_se"]) / each.truth, (-0.5, 2.0))


def _point(axes: Axes, value: float, error: float, limits: tuple[float, float]) -> None:
    """One value on its own line, with an arrow at the edge where it lies outside the limits; text where it is none."""
    low, high = limits
    axes.set(xlim=limits, ylim=(-1, 1), yticks=[])
    axes.spines["left"].set_visible(False)
    if not np.isfinite(value):
        axes.text(0.5, 0.6, "not a number", transform=axes.transAxes, ha="center")
    elif low <= value <= high:
        axes.errorbar([value], [0], xerr=[error], fmt="o", ms=5, color=palette.VERMILION, capsize=2, elinewidth=1)
        axes.text(value, 0.25, f"{value:.2f}", ha="center")
    else:
        edge, marker = (high, ">") if value > high else (low, "<")
        axes.plot([edge], [0], marker=marker, ms=6, color=palette.VERMILION, clip_on=False)
        axes.text(0.97 if value > high else 0.03, 0.62, f"{value:.3g}", transform=axes.transAxes,
                  ha="right" if value > high else "left")  # fmt: skip


if __name__ == "__main__":
    main()
