"""The sweep of a calibration, for papers and screens: λ̂ over step size and over nβ, the flat region marked.

Takes the dataset of `devi.sampling.sweep.sweep`; one row of panels for each checkpoint.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from devi.report import palette
from devi.report.canvas import PAGE, new_figure, styled
from devi.report.sentences import step_text

LABELS = {"step_size": "step size ε", "n_beta": "nβ"}
PULLS = {0.5: "γ/2", 1.0: "γ", 2.0: "2γ"}
FLAT = palette.SKY
FAILING = "X"
ROOM = 3.0  # values beyond so many times the range of the sound ones are drawn at the edge


@styled
def sweep_figure(swept: xr.Dataset) -> Figure:
    """λ̂ ± 2 standard errors at each checkpoint: left over step size, right over nβ at γ/2, γ and 2γ."""
    steps = swept["step"].values
    figure = new_figure(PAGE, 0.75 + 1.75 * len(steps))
    grid = figure.subplots(len(steps), 2, squeeze=False, sharex="col", sharey="row")
    for row, step in enumerate(steps):
        at = swept.isel(step=row)
        for axes, what in zip(grid[row], LABELS, strict=True):
            _panel(axes, at.isel(setting=at["varied"].values == what), what, dict(swept.attrs))
        low, high = _limits(at)
        grid[row, 0].set_ylim(low, high)
        grid[row, 0].set_ylabel("λ̂")
        grid[row, 0].yaxis.set_major_locator(MaxNLocator(5))
        grid[row, 0].set_title(f"training step {step_text(float(step))}", loc="left", pad=3)
    for axes, what in zip(grid[-1], LABELS, strict=True):
        unit = (
            " (in widths of the posterior)" if what == "step_size" and swept.attrs["sampler"] in ("hmc", "mala") else ""
        )
        axes.set_xlabel(LABELS[what] + unit)
    figure.legend(handles=_legend(swept), loc="outside upper center", ncols=3, handlelength=2.4, columnspacing=1.6)
    return figure


def _panel(axes: Axes, at: xr.Dataset, what: str, chosen: dict[str, Any]) -> None:
    """The curves of one checkpoint; `at` holds the settings that vary `what`."""
    axes.set_xscale("log")
    x = at[what].values
    main = at["localization"].values == chosen["localization"]
    flat = x[main & at["is_flat"].values]
    if len(flat):
        wide = _half_a_step(x)
        axes.axvspan(flat.min() / wide, flat.max() * wide, color=FLAT, alpha=0.25, lw=0, zorder=0)
    else:
        is_sound = at["is_sound"].values[at["is_chosen"].values].any()
        why = (
            "not flat: the next settings give another value" if is_sound else "not flat: the chosen setting is flagged"
        )
        axes.text(0.99, 0.02, why, transform=axes.transAxes, ha="right", fontsize=6.5)
    axes.axvline(chosen[what], color=palette.GUIDE, lw=0.9, ls=(0, (4, 2)), zorder=0.5)
    for index, (factor, _) in enumerate(PULLS.items()):
        curve = at.isel(setting=np.isclose(at["localization"].values, factor * chosen["localization"]))
        if curve.sizes["setting"]:
            look = palette.style(_colour(index))
            # Beside each other, so that three error bars at one nβ can be told apart
            _curve(axes, curve, what, look, shift=1 + 0.07 * (index - 1) if what == "n_beta" else 1.0)
    if what == "step_size" and chosen["sampler"] in ("sgld", "devinterp"):
        raw = np.where(at["is_sound"].values, at["llc_raw"].values, np.nan)
        axes.plot(x, raw, color=palette.GUIDE, lw=0.9, ls=(0, (1, 1.2)), zorder=1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if x.max() > 100 * x.min() else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _curve(axes: Axes, curve: xr.Dataset, what: str, look: palette.Style, shift: float) -> None:
    """A line through the sound estimates with 2 errors to each side; a cross for each that fails."""
    x, llc = curve[what].values * shift, curve["llc"].values
    sound = curve["is_sound"].values & np.isfinite(llc)
    dash = (0, look.dash) if look.dash else "-"
    axes.plot(x, np.where(sound, llc, np.nan), color=look.colour, lw=1.0, ls=dash)
    axes.errorbar(
        x[sound], llc[sound], 2 * curve["llc_se"].values[sound], fmt=look.marker, ms=4, color=look.colour,
        elinewidth=0.8, capsize=1.5,
    )  # fmt: skip
    failing: dict[str, Any] = {"ls": "", "marker": FAILING, "ms": 5.5, "mfc": "white", "mec": look.colour, "mew": 0.9}
    for place in np.flatnonzero(~sound):
        if np.isfinite(llc[place]):
            axes.plot(x[place], llc[place], **failing)
        else:  # no number: at the upper edge
            axes.plot(x[place], 0.97, transform=axes.get_xaxis_transform(), clip_on=False, **failing)


def _limits(at: xr.Dataset) -> tuple[float, float]:
    """Of λ̂: all sound estimates with their errors, and of the failing ones those near them."""
    llc, error = at["llc"].values, 2 * at["llc_se"].values
    sound = at["is_sound"].values & np.isfinite(llc) & np.isfinite(error)
    if not sound.any():
        sound = np.isfinite(llc)
        error = np.zeros_like(llc)
    if not sound.any():
        return 0.0, 1.0
    low, high = float((llc - error)[sound].min()), float((llc + error)[sound].max())
    reach = ROOM * max(high - low, 0.1 * abs(high), 1e-6)
    others = llc[np.isfinite(llc) & (llc > low - reach) & (llc < high + reach)]
    low, high = min(low, float(others.min())), max(high, float(others.max()))
    if 0 < low < 0.5 * high:
        low = 0.0
    margin = 0.08 * max(high - low, 1e-6)
    return low - margin, high + margin


def _half_a_step(x: np.ndarray) -> float:
    """The factor to half way, on the log axis, to the next setting."""
    return float(np.sqrt(np.unique(x)[1] / np.unique(x)[0]))


def _colour(index: int) -> int:
    """The curve at the chosen γ looks the same in both columns: the first style."""
    return (1, 0, 2)[index]


def _legend(swept: xr.Dataset) -> list[Any]:
    pull = swept.attrs["localization"]
    handles: list[Any] = []
    for index, (factor, name) in enumerate(PULLS.items()):
        look = palette.style(_colour(index))
        dash = (0, look.dash) if look.dash else "-"
        label = f"{name} = {factor * pull:.3g}"
        handles.append(Line2D([], [], color=look.colour, ls=dash, marker=look.marker, ms=4, lw=1.0, label=label))
    if swept.attrs["sampler"] in ("sgld", "devinterp"):
        raw = "before the step size's share is taken off"
        handles.append(Line2D([], [], color=palette.GUIDE, lw=0.9, ls=(0, (1, 1.2)), label=raw))
    failing = "flagged: not in equilibrium, or too slow" if not swept["is_sound"].all() else ""
    if failing:
        handles.append(Line2D([], [], ls="", marker=FAILING, ms=5.5, mfc="white", mec="black", mew=0.9, label=failing))
    handles.append(Line2D([], [], color=palette.GUIDE, lw=0.9, ls=(0, (4, 2)), label="chosen"))
    if swept["is_flat"].any():
        handles.append(Patch(color=FLAT, alpha=0.25, lw=0, label="flat: within 5% or 2 errors of the chosen"))
    return handles
