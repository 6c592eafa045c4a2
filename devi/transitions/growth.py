"""Growth of a fit: components are added to a slow null, to no null, and as a staircase; the cheapest start wins."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from devi.transitions.curves import Curve
from devi.transitions.fit import WIDEST, Component, Fit, dates_of, fit, gap_at
from devi.transitions.nulls import Library, NullFit, best_nulls, relaxations

MOST = 8  # components of one curve; a staircase of five modes needs five
TRIALS = 3  # candidates that are fitted at each step; with one, crowded curves went the wrong way
WIDTHS = (0.05, 0.1, 0.18, 0.3, 0.5, 0.75, 0.95)  # decades
LARGEST_SHARE = 1.25  # more than all of the range is a cancellation
LONGEST_SPIKE = 0.1  # decades; a slower recovery is a change of its own


@dataclass(frozen=True)
class Grid:
    """What depends on the checkpoints only: the library of nulls, atoms (n, K) and what they are."""

    library: Library
    atoms: np.ndarray
    kinds: tuple[Component, ...]


@lru_cache(maxsize=32)
def grid_of(raw: bytes) -> Grid:
    x = np.frombuffer(raw)
    kinds: list[Component] = []
    for width in WIDTHS:
        kinds += [Component("sigmoid", c, width) for c in np.arange(x[0], x[-1], max(width / 2.5, 0.02))]
    # Jumps between any two checkpoints, two points at least on either side.
    for i in range(2, len(x) - 1):
        kinds.append(Component("sigmoid", (x[i] + x[i - 1]) / 2, 0.5 * (x[i] - x[i - 1])))
    for i in range(1, len(x) - 1):
        gap = x[i + 1] - x[i]
        kinds += [Component("spike", x[i], k * gap) for k in (0.5, 2.0, 5.0) if k < 1 or k * gap <= LONGEST_SPIKE]
    for width in (0.1, 0.4):
        kinds += [Component("kink", c, width) for c in np.arange(x[0] + 0.2, x[-1] - 0.1, 0.05)]
    atoms = np.stack([kind.column(x) for kind in kinds], axis=1)
    seen = np.array([np.sum((x > k.centre - 0.8 * k.width) & (x < k.centre + 0.8 * k.width)) for k in kinds])
    steep = np.array([k.shape != "sigmoid" or k.width < 0.06 for k in kinds]) | (seen > 0)
    keep = np.flatnonzero((np.ptp(atoms, axis=0) > 0.05) & steep)
    return Grid(relaxations(x), atoms[:, keep], tuple(kinds[i] for i in keep))


def _nulls(grid: Grid, curve: Curve, components: tuple[Component, ...], keep: int) -> list[NullFit]:
    columns = [np.ones(len(curve.x)), *(one.column(curve.x) for one in components)]
    fixed = np.stack(columns, axis=1) / curve.sigma[:, None]
    return best_nulls(grid.library, curve.sigma, fixed, curve.y / curve.sigma, keep=keep)


def refit(grid: Grid, curve: Curve, components: tuple[Component, ...], iterations: int) -> Fit:
    """Null chosen anew for these components, then everything fitted; other nulls if the best one only cancels them."""
    n = len(curve.x)
    fits: list[Fit] = []
    for null in _nulls(grid, curve, components, 3):
        fits.append(
            fit(curve.x, curve.y, curve.sigma, components, grid.library.shapes, null.columns, iterations=iterations)
        )
        if implausible(curve, fits[-1]) == 0:
            break
    return min(fits, key=lambda one: _cost(one, n) + implausible(curve, one))


def _cost(one: Fit, n: int) -> float:
    """chi² plus the BIC price of the null and of the components."""
    return one.rss + parameters_of(one) * float(np.log(n))


def parameters_of(one: Fit) -> int:
    """Two for each null term (amplitude, time), three for each component (amplitude, centre, width)."""
    return 2 * len(one.null) + 3 * len(one.components)


def grow(curve: Curve, grid: Grid) -> Fit:
    """Changes on a slow null or on none, whichever costs less: beside a null, a staircase looks like its ripples."""
    n = len(curve.x)
    best = _simplified(curve, grid, _grown(curve, grid, nulls=8))
    if any(one.shape == "sigmoid" for one in best.components):
        starts = (_grown(curve, grid, nulls=0), _staircase(curve, grid))
        rivals = [best, *(_simplified(curve, grid, start) for start in starts)]
        best = min(rivals, key=lambda one: _cost(one, n) + implausible(curve, one))
    return best


def _staircase(curve: Curve, grid: Grid) -> Fit:
    """A sigmoid at each of the MOST highest peaks of the speed, fitted together on no null: steps that greed melts."""
    x = np.linspace(curve.x[0], curve.x[-1], 400)
    kernel = 0.03 / (x[1] - x[0])  # decades
    speed = np.abs(gaussian_filter1d(np.interp(x, curve.x, curve.y), kernel, order=1))
    peaks, found = find_peaks(np.concatenate([[0], speed, [0]]), prominence=0.1 * np.max(speed), width=1)
    order = np.argsort(found["prominences"])[::-1][:MOST]
    widths = np.clip(found["widths"][order] * (x[1] - x[0]), 0.05, 0.5)
    places = x[np.clip(peaks[order] - 1, 0, len(x) - 1)]
    parts = tuple(Component("sigmoid", float(c), float(w)) for c, w in zip(places, widths, strict=True))
    return fit(curve.x, curve.y, curve.sigma, parts, grid.library.shapes, (), iterations=20)


def _simplified(curve: Curve, grid: Grid, full: Fit) -> Fit:
    """Ramps in place of sigmoids, or of pairs of them, where that costs less."""
    n = len(curve.x)
    improved = True
    while improved:
        improved = False
        order = [
            k for k in np.argsort([one.centre for one in full.components]) if full.components[k].shape == "sigmoid"
        ]
        pairs = [[i, j] for i, j in itertools.pairwise(order) if full.amplitudes[i] * full.amplitudes[j] > 0]
        for group in [*pairs, *([k] for k in order)]:
            onset, centre, end = dates_of(curve.x, [full.components[k] for k in group], full.amplitudes[group])
            if not 3 * gap_at(curve.x, centre) < end - onset <= 1.1 * WIDEST:
                continue
            rest = tuple(one for k, one in enumerate(full.components) if k not in group)
            one = Component("ramp", centre, min(end - onset, 0.99 * WIDEST))
            trial = fit(curve.x, curve.y, curve.sigma, (*rest, one), grid.library.shapes, full.null, iterations=10)
            if _cost(trial, n) + implausible(curve, trial) < _cost(full, n) + implausible(curve, full) - 2:
                full, improved = trial, True
                break
    return full


def _grown(curve: Curve, grid: Grid, *, nulls: int) -> Fit:
    """Add one component after the other, each time for several nulls (0: none at all), while the BIC falls."""
    n = len(curve.x)
    weighted = grid.atoms / curve.sigma[:, None]
    norms = np.einsum("nk,nk->k", weighted, weighted)
    target = curve.y / curve.sigma
    bare = NullFit((), 0.0)
    empty = fit(curve.x, curve.y, curve.sigma, (), grid.library.shapes, (), iterations=0)
    best = refit(grid, curve, (), 0) if nulls else empty
    for _ in range(MOST):
        if best.rss < 3 * np.log(n):  # nothing left to gain
            break
        choices: dict[int, tuple[float, tuple[int, ...]]] = {}  # atom -> (cost, null)
        columns = [np.ones(n), *(one.column(curve.x) for one in best.components)]
        for null in _nulls(grid, curve, best.components, nulls) if nulls else [bare]:
            fixed = np.column_stack([*columns, grid.library.shapes[:, list(null.columns)]]) / curve.sigma[:, None]
            q = np.linalg.qr(fixed)[0]
            rest = target - q @ (q.T @ target)
            power = norms - ((weighted.T @ q) ** 2).sum(1)  # of each atom beside what is fitted already
            gain = np.where(power < 1e-3, 0.0, (weighted.T @ rest) ** 2 / np.maximum(power, 1e-12))
            k = int(np.argmax(gain))
            cost = float(rest @ rest) + 2 * np.log(n) * len(null.columns) - float(gain[k])
            choices[k] = min(choices.get(k, (cost, null.columns)), (cost, null.columns))
        trials = []
        for k, (_, columns_of_null) in sorted(choices.items(), key=lambda item: item[1][0])[:TRIALS]:
            components = (*best.components, grid.kinds[k])
            grown = fit(curve.x, curve.y, curve.sigma, components, grid.library.shapes, columns_of_null, iterations=8)
            trials += [grown, refit(grid, curve, grown.components, 8)] if nulls else [grown]
        grown = min(trials, key=lambda one: _cost(one, n) + implausible(curve, one))
        if _cost(grown, n) + implausible(curve, grown) > _cost(best, n) + implausible(curve, best) - 2:
            break
        best = grown
    return best


def implausible(curve: Curve, one: Fit) -> float:
    """Price of components that cancel against each other or the null: larger than anything the curve does."""
    sizes = [
        abs(a) for a, part in zip(one.amplitudes, one.components, strict=True) if part.shape in ("sigmoid", "ramp")
    ]
    return 20.0 * sum(size > LARGEST_SHARE * np.ptp(curve.y) for size in sizes)
