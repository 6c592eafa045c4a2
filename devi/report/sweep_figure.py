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
ARROWS = (r"$\downarrow$", r"$\uparrow$")  # at the lower and the upper edge: a value beyond it
ROOM = 3.0  # values beyond so many times the range of the sound ones and the chosen one are arrows at the edge


@styled
def sweep_figure(swept: xr.Dataset) -> Figure:
    """λ̂ ± 2 standard errors at each checkpoint: left over step size, right over nβ at γ/2, γ and 2γ."""
    steps = swept["step"].values
    figure = new_figure(PAGE, 0.75 + 1.75 * len(steps))
    grid = figure.subplots(len(steps), 2, squeeze=False, sharex="col", sharey="row")
    for row, step in enumerate(steps):
        at = swept.isel(step=row)
        limits = _limits(at)
        for axes, what in zip(grid[row], LABELS, strict=True):
            _panel(axes, at.isel(setting=at["varied"].values == what), what, dict(swept.attrs), limits)
        grid[row, 0].set_ylim(limits)
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


def _panel(axes: Axes, at: xr.Dataset, what: str, chosen: dict[str, Any], limits: tuple[float, float]) -> None:
    """The curves of one checkpoint; `at` holds the settings that vary `what`, `limits` are those of λ̂."""
    axes.set_xscale("log")
    x = at[what].values
    main = at["localization"].values == chosen["localization"]
    flat = x[main & at["is_flat"].values]
    if len(flat):
        wide = _half_a_step(x)
        axes.axvspan(flat.min() / wide, flat.max() * wide, color=FLAT, alpha=0.25, lw=0, zorder=0)
    else:
        is_sound = at["is_sound"].values[at["is_chosen"].values].any()
        why = "not flat: the next settings differ" if is_sound else "not flat: the chosen setting is flagged"
        axes.set_title(why, loc="right", pad=3, fontsize=6.5)  # above the axes, where it covers no point
    axes.axvline(chosen[what], color=palette.GUIDE, lw=0.9, ls=(0, (4, 2)), zorder=0.5)
    for index, (factor, _) in enumerate(PULLS.items()):
        curve = at.isel(setting=np.isclose(at["localization"].values, factor * chosen["localization"]))
        if curve.sizes["setting"]:
            look = palette.style(_colour(index))
            # Beside each other, so that three error bars at one nβ can be told apart
            _curve(axes, curve, what, look, limits, shift=1 + 0.07 * (index - 1) if what == "n_beta" else 1.0)
    if what == "step_size" and chosen["sampler"] in ("sgld", "devinterp"):
        axes.plot(x, _raw(at), color=palette.GUIDE, lw=0.9, ls=(0, (1, 1.2)), zorder=1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if x.max() > 100 * x.min() else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _curve(
    axes: Axes, curve: xr.Dataset, what: str, look: palette.Style, limits: tuple[float, float], *, shift: float
) -> None:
    """A line through the sound estimates; a cross for each that fails; 2 errors to each side of both."""
    x, llc, error = curve[what].values * shift, curve["llc"].values, 2 * curve["llc_se"].values
    sound = _sound(curve)
    inside = np.isfinite(llc) & ~_beyond(llc, limits)
    dash = (0, look.dash) if look.dash else "-"
    axes.plot(x, np.where(sound, llc, np.nan), color=look.colour, lw=1.0, ls=dash)
    bars: dict[str, Any] = {"color": look.colour, "elinewidth": 0.8, "capsize": 1.5}
    axes.errorbar(x[sound], llc[sound], error[sound], fmt=look.marker, ms=4, **bars)
    known = inside & ~sound & np.isfinite(error)
    axes.errorbar(x[known], llc[known], error[known], fmt="none", **bars)
    failing: dict[str, Any] = {"ls": "", "mec": look.colour, "mew": 0.9}
    cross: dict[str, Any] = {**failing, "marker": FAILING, "ms": 5.5, "mfc": "white"}
    arrow: dict[str, Any] = {**failing, "ms": 8, "mfc": look.colour}
    for place in np.flatnonzero(~sound):
        if inside[place]:
            axes.plot(x[place], llc[place], **cross)
            continue
        edge: dict[str, Any] = {"transform": axes.get_xaxis_transform()}
        if np.isfinite(llc[place]):
            above = int(llc[place] > limits[0])
            axes.plot(x[place], (0.05, 0.95)[above], marker=ARROWS[above], **edge, **arrow)
        else:  # no number: a cross at the upper edge
            axes.plot(x[place], 0.97, **edge, **cross)


def _sound(at: xr.Dataset) -> np.ndarray:
    """Whether an estimate passes and is a number, (setting,) or (setting, step)."""
    return at["is_sound"].values & np.isfinite(at["llc"].values)


def _raw(at: xr.Dataset) -> np.ndarray:
    """λ̂ with the step size's share, where the estimate is sound, (setting,) or (setting, step)."""
    return np.where(_sound(at), at["llc_raw"].values, np.nan)


def _limits(at: xr.Dataset) -> tuple[float, float]:
    """Of λ̂: all sound estimates and the chosen setting's, with what is near them, each with its error.

    Where none of these is a number, of all that are.
    """
    llc, sound = at["llc"].values, _sound(at)
    finite = np.isfinite(llc)
    error = np.where(np.isfinite(at["llc_se"].values), 2 * at["llc_se"].values, 0.0)
    if not finite.any():
        return 0.0, 1.0
    core = (sound | at["is_chosen"].values) & finite
    core = core if core.any() else finite
    spread = np.where(sound, error, 0.0)  # of a failing one the error may be anything
    low, high = float((llc - spread)[core].min()), float((llc + spread)[core].max())
    reach = ROOM * max(high - low, 0.1 * abs(high), 1e-6)
    near = finite & (llc > low - reach) & (llc < high + reach)
    low, high = (
        max(float((llc - error)[near].min()), low - reach),
        min(float((llc + error)[near].max()), high + reach),
    )
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
    """An entry for everything that is drawn, and for nothing else."""
    pull = swept.attrs["localization"]
    handles: list[Any] = []
    for index, (factor, name) in enumerate(PULLS.items()):
        curve = swept.isel(setting=np.isclose(swept["localization"].values, factor * pull))
        if not curve.sizes["setting"]:
            continue
        look = palette.style(_colour(index))
        dash = ((0, look.dash) if look.dash else "-") if _has_line(curve, curve["llc"].where(_sound(curve))) else ""
        mark: dict[str, Any] = {"marker": look.marker, "ms": 4}
        if not _sound(curve).any():
            mark = {"marker": FAILING, "ms": 5.5, "mfc": "white", "mew": 0.9}
        handles.append(
            Line2D([], [], color=look.colour, ls=dash, lw=1.0, label=f"{name} = {factor * pull:.3g}", **mark)
        )
    sizes = swept.isel(setting=swept["varied"].values == "step_size")
    if swept.attrs["sampler"] in ("sgld", "devinterp") and _has_line(sizes, sizes["llc_raw"].where(_sound(sizes))):
        raw = "before the step size's share is taken off"
        handles.append(Line2D([], [], color=palette.GUIDE, lw=0.9, ls=(0, (1, 1.2)), label=raw))
    if not _sound(swept).all():
        failing = "flagged: not in equilibrium, or too slow"
        handles.append(Line2D([], [], ls="", marker=FAILING, ms=5.5, mfc="white", mec="black", mew=0.9, label=failing))
    if _is_beyond(swept):
        handles.append(Line2D([], [], ls="", marker=ARROWS[0], ms=8, color="black", label="flagged, beyond the axis"))
    handles.append(Line2D([], [], color=palette.GUIDE, lw=0.9, ls=(0, (4, 2)), label="chosen"))
    if swept["is_flat"].any():
        handles.append(Patch(color=FLAT, alpha=0.25, lw=0, label="flat: within 5% or 2 errors of the chosen"))
    return handles


def _has_line(curve: xr.Dataset, drawn: xr.DataArray) -> bool:
    """Whether two neighbours of a panel are drawn, so that a line joins them. drawn (setting, step): NaN where not."""
    for what in LABELS:
        there = np.isfinite(drawn.values[curve["varied"].values == what])
        if (there[1:] & there[:-1]).any():
            return True
    return False


def _is_beyond(swept: xr.Dataset) -> bool:
    """Whether some estimate is an arrow at the edge of its panel."""
    rows = (swept.isel(step=row) for row in range(swept.sizes["step"]))
    return any(bool(_beyond(at["llc"].values, _limits(at)).any()) for at in rows)


def _beyond(llc: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Which estimates lie outside of the axis, or so near to its ends that half of a mark would."""
    edge = 0.03 * (limits[1] - limits[0])
    return (llc < limits[0] + edge) | (llc > limits[1] - edge)
