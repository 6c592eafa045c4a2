"""Curve: one metric (or one column of it) made ready for the search: finite, positive steps, with its noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import xarray as xr

from devi.errors import DeviError, counted, wrong_kind
from devi.transitions.declared import declared
from devi.transitions.noise import grain, inflation, local_noise, roughness, running_median, without_outliers
from devi.transitions.ranks import is_context, is_context_name
from devi.transitions.transition import Skipped

FEWEST = 10  # checkpoints with finite values; below it a curve cannot tell a change (3 parameters) from a trend (4)
TOO_FEW = f"at least {FEWEST} are needed"
NOISE_FLOOR = 0.025  # of the range: what a smooth null is allowed to miss on a noise-free run before it counts
SMALLEST_SHARE = 0.1  # of what its changes are measured against: a smaller one is none
GRAINS = 1.5  # of what values were rounded to: a smaller change may be that of the rounding alone
CLEAR = 40.0  # times its roughness: noise alone, correlated or smoothed, has a range of at most two dozen times that
SMALL_COLUMN = 0.2  # of the largest column's range: what the changes of a smaller column are measured against
LONELY_ENDS = 2.0  # times the range without a curve's ends: beyond that they are no part of it
LARGEST = 1e302  # a million of them can be added up
CONSTANT = "constant"
IMMATERIAL = "its range"  # begins the reason of a metric that stayed where it was
GRAIN = "grain"  # attribute of means: to what the values of each column were rounded before
NOISE = "noise"  # attribute of means, (step, column): the least that it can be, as their rows tell
DIAGNOSTICS = "llc_"  # llc_rhat, llc_ess, llc_headroom, …: about the sampler


@dataclass(frozen=True)
class Curve:
    """x = log10(step) (n,), values y (n,), noise sigma (n,) in y's unit, spread = the range
    that its changes are measured against.

    inflation  variance × autocorrelation time of the noise, in units of sigma²: what a mean over many points feels
    searches   of one run, this one among them: the log of their number is taken off the evidence (Bonferroni)
    error    (n,) standard errors that came with the values, 0 without; in y's unit
    bounds   values beyond which the metric cannot go: an accuracy is between 0 and 1; infinite if none are known
    monotone 1 or -1 for a metric that only rises or only falls, as its declaration says; else 0
    material a smaller change is no change of structure, in y's unit; 0 unless the metric declares one
    gated    a column that is defined only once another metric is large enough, so that it follows and does not lead
    context  supports an event but makes none (ranks.py)
    """

    metric: str
    index: int | None
    x: np.ndarray
    y: np.ndarray
    sigma: np.ndarray
    spread: float
    error: np.ndarray | None = None
    gated: bool = False
    context: bool = False
    inflation: float = 1.0
    searches: int = 1
    material: float = 0.0
    bounds: tuple[float, float] = (-np.inf, np.inf)
    monotone: int = 0

    @cached_property
    def reach(self) -> float:
        """Range of the values themselves."""
        return float(np.ptp(self.y))

    @property
    def middle(self) -> float:
        return float(np.median(self.y))

    @cached_property
    def plain(self) -> Curve:
        """The same curve in units of its spread, from its median: a search must not depend on a unit."""
        low, high = ((limit - self.middle) / self.spread for limit in self.bounds)
        return replace(
            self,
            y=(self.y - self.middle) / self.spread,
            sigma=self.sigma / self.spread,
            spread=1.0,
            material=self.material / self.spread,
            bounds=(low, high),
        )

    @property
    def name(self) -> str:
        return self.metric if self.index is None else f"{self.metric}[{self.index}]"


def checked_steps(trajectories: xr.Dataset) -> np.ndarray:
    """The coordinate `step`, (step,), after checking that it increases. Raises DeviError otherwise."""
    if not isinstance(trajectories, xr.Dataset):
        raise wrong_kind(
            "what is searched",
            trajectories,
            "an xarray.Dataset along `step`: xr.Dataset({'loss': ('step', losses)}, coords={'step': steps}), or the"
            " `trajectories` of an analysis. Curves in a file: devi detect FILE.",
        )
    for name in trajectories.data_vars:
        if not isinstance(name, str):
            raise wrong_kind("the name of a curve", name, "text, such as 'loss'.")
    if "step" not in trajectories.coords or trajectories["step"].dims != ("step",):
        raise DeviError(
            "the trajectories have no coordinate 'step'; expected one optimizer step per checkpoint."
            " Add it: trajectories.assign_coords(step=steps)."
        )
    steps = trajectories["step"].values
    if not np.issubdtype(steps.dtype, np.number) or not np.all(np.isfinite(steps.astype(float))):
        raise DeviError(f"step has values that are not numbers ({steps.dtype}); expected optimizer steps 0, 1, 2, ….")
    steps = steps.astype(float)
    if len(steps) and steps[0] < 0:
        raise DeviError(f"the first step is {steps[0]:g}; expected optimizer steps that start at 0 or later.")
    back = np.flatnonzero(np.diff(steps) <= 0)
    if len(back):
        i = int(back[0])
        what = "repeats" if steps[i + 1] == steps[i] else "comes after"
        raise DeviError(
            f"step {steps[i + 1]:g} {what} step {steps[i]:g} (row {i + 1}); expected steps that increase."
            " Sort and deduplicate them: trajectories.sortby('step').drop_duplicates('step')."
        )
    return steps


def is_too_few(reason: str) -> bool:
    """Whether this reason not to search a variable is that it has too few checkpoints."""
    return reason.endswith(TOO_FEW)


def is_still(reason: str) -> bool:
    """Whether this reason not to search a variable is that it stays where it is."""
    return reason == CONSTANT or reason.startswith(IMMATERIAL)


def curves_of(trajectories: xr.Dataset) -> tuple[list[Curve], list[Skipped]]:
    """Every curve worth searching in the Dataset, and every variable that is not, with the reason.

    trajectories  variables (step,) or (step, column); `NAME_se` is read as the standard error of NAME
    """
    steps = checked_steps(trajectories)
    curves: list[Curve] = []
    skipped: list[Skipped] = []
    for name in (str(key) for key in trajectories.data_vars):
        if name.endswith("_se") and name[:-3] in trajectories:
            continue
        variable = trajectories[name]
        reason = _unsuitable(name, variable)
        if reason is None:
            found, reason = _columns(name, variable, trajectories.get(f"{name}_se"), steps)
            curves += found
        if reason is not None:
            skipped.append(Skipped(name, reason))
    stayed = any(one.reason.startswith(IMMATERIAL) and not is_context_name(one.metric) for one in skipped)
    if not stayed and all(curve.context for curve in curves):  # nothing else was measured: they speak for themselves
        curves = [replace(curve, context=False) for curve in curves]
    return curves, skipped


def _unsuitable(name: str, variable: xr.DataArray) -> str | None:
    if "step" not in variable.dims:
        return "has no dimension 'step'"
    if name.startswith(DIAGNOSTICS):
        return "a diagnostic of the sampler, not a property of the model"
    if not bool(variable.attrs.get("detect", True)):
        return "the metric asks not to be searched (attribute detect = False)"
    if variable.ndim > 2:
        return f"has {variable.ndim} dimensions; at most (step, column) can be searched"
    if variable.dtype.kind not in "fiub":
        return f"holds {variable.dtype} values, not numbers"
    if variable.dtype.kind in "iu" and variable.attrs.get("labels"):
        return "integer labels, not a quantity"
    if variable.dtype.kind in "iu" and name in ("polygon", "key_frequencies"):
        return "integer labels, not a quantity"
    return None


def _columns(
    name: str, variable: xr.DataArray, error: xr.DataArray | None, steps: np.ndarray
) -> tuple[list[Curve], str | None]:
    values = variable.transpose("step", ...).values.astype(float)
    table = values.reshape(len(steps), values[:1].size if len(steps) else 1)  # (step, column)
    errors = np.full_like(table, np.nan)
    if error is not None and error.shape == variable.shape:
        errors = error.transpose("step", ...).values.astype(float).reshape(table.shape)
        if (errors < 0).any():
            row, column = np.argwhere(errors < 0)[0]
            raise DeviError(
                f"the standard error {name}_se is {errors[row, column]:g} at step {steps[row]:g}; expected 0 or more,"
                " or nan where it is not known. Rename the column if it is none."
            )
    usable = np.isfinite(table) & (steps > 0)[:, None]
    enough = usable.sum(0) >= FEWEST
    if not enough.any():
        most = int(usable.sum(0).max(initial=0))
        return [], f"{counted(most, 'checkpoint')} with a finite value after step 0; {TOO_FEW}"
    size = max(float(np.max(np.abs(table[usable]))), 1e-300)
    if size > LARGEST:
        return [], f"holds values as large as {size:.2g}, and sums of such leave the numbers; expected ≤ {LARGEST:g}"
    spreads = [_spread(table[usable[:, j], j]) if enough[j] else 0.0 for j in range(table.shape[1])]
    widest = max(spreads)
    if widest <= 1e-9 * size:
        return [], CONSTANT
    known = declared(name, variable, table[usable])
    floor = known.material
    if widest < floor:
        return [], f"{IMMATERIAL} {widest:.2g} is below {floor:g}, too small to be a change of structure"
    curves = []
    for j in np.flatnonzero(enough).tolist():
        keep = usable[:, j]
        x, y = np.log10(steps[keep]), without_outliers(table[keep, j])
        se = np.where(np.isfinite(errors[keep, j]), errors[keep, j], 0.0)
        unit = variable.attrs[GRAIN][j] if GRAIN in variable.attrs else grain(table[keep, j])
        noise = np.maximum(np.maximum(local_noise(x, y), se), unit / np.sqrt(12))
        if NOISE in variable.attrs:
            noise = np.maximum(noise, variable.attrs[NOISE][keep, j])
        is_clear = spreads[j] > CLEAR * max(float(np.median(se)), roughness(x, y))
        scale = _scale(spreads[j], widest, floor if known.is_own else 0.0) if is_clear else widest
        if spreads[j] < SMALLEST_SHARE * scale:
            continue
        sigma = np.hypot(noise, NOISE_FLOOR * scale)
        curves.append(
            Curve(
                metric=name,
                index=j if variable.ndim == 2 else None,
                x=x,
                y=y,
                sigma=sigma,
                error=se,
                spread=scale,
                gated=variable.ndim == 2 and ("gate" in variable.attrs or not keep[np.argmax(steps > 0)]),
                context=is_context(name, table[keep, j]),
                inflation=inflation(x, y, sigma),
                material=max(floor, GRAINS * unit),
                bounds=known.bounds,
                monotone=known.monotone,
            )
        )
    return curves, None


def _scale(own: float, widest: float, material: float) -> float:
    """What the changes of a column that stands clear of its noise are measured against: its own range, but no less than
    makes its smallest change material. Those of another one: the largest column's range, for all share a unit.

    Where the metric itself does not declare what is material, SMALL_COLUMN of the largest column's range will do.
    """
    least = material / SMALLEST_SHARE if material else SMALL_COLUMN * widest
    return min(max(own, least), widest)


def _spread(y: np.ndarray) -> float:
    """Range of the running median of five: single outliers do not widen it.

    Its windows are cut short at the ends. Where that more than doubles the range, the first two losses of a run, say,
    would hide all that follows: there it is that of the whole windows.
    """
    whole = float(np.ptp(np.median(np.lib.stride_tricks.sliding_window_view(y, 5), axis=1)))
    cut = float(np.ptp(running_median(y, 5)))
    return cut if cut <= LONELY_ENDS * whole or whole == 0 else whole
