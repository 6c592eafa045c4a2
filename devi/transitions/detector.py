"""Changes of one curve: sigmoids, kinks and nuisance spikes added greedily to a slow null, then weighed one by one.

The evidence for a change is half the drop of chi² that it brings when the rest, null included, is fitted again, divided
by the inflation (variance × autocorrelation time) of the residuals, less log n for each half parameter (BIC).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from devi.transitions.curves import Curve
from devi.transitions.fit import WIDEST, Component, Fit, Shape, fit, gap_at
from devi.transitions.nulls import Library, NullFit, best_nulls, relaxations
from devi.transitions.oscillation import oscillates

MOST = 8  # components of one curve; a staircase of five modes needs five
TRIALS = 3  # candidates that are fitted at each step; with one, crowded curves went the wrong way
WIDTHS = (0.05, 0.1, 0.18, 0.3, 0.5, 0.75, 0.95)  # decades
SMALLEST_SHARE = 0.1  # of the curve's range
LARGEST_SHARE = 1.25  # more than all of the range is a cancellation
SMALLEST_SIGNAL = 2.5  # times the noise
LONGEST_SPIKE = 0.1  # decades; a slower recovery is a change of its own
FEWEST_BESIDE = 4  # checkpoints on each side, below which a change is reported but cannot be resolved


@dataclass(frozen=True)
class Change:
    """One change of one curve. onset, centre, end (10, 50, 90%) in log10(step); amplitude in the metric's unit.

    share         |amplitude| over the metric's range; for a kink, of what the new slope adds by the end of the run
    errors        standard errors of onset, centre and end, decades
    beside        checkpoints on the poorer side of the change
    """

    curve: Curve
    shape: Shape
    onset: float
    centre: float
    end: float
    amplitude: float
    share: float
    log_bayes_factor: float
    errors: tuple[float, float, float]
    autocorrelation: float
    beside: int

    @property
    def width(self) -> float:
        return self.end - self.onset

    @property
    def gap(self) -> float:
        """Distance between the two checkpoints around the centre, decades."""
        return gap_at(self.curve.x, self.centre)

    @property
    def is_jump(self) -> bool:
        return self.width <= 1.01 * self.gap


@dataclass(frozen=True)
class _Grid:
    """What depends on the checkpoints only: the library of nulls, atoms (n, K) and what they are."""

    library: Library
    atoms: np.ndarray
    kinds: tuple[Component, ...]


@lru_cache(maxsize=32)
def _grid(raw: bytes) -> _Grid:
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
    return _Grid(relaxations(x), atoms[:, keep], tuple(kinds[i] for i in keep))


def changes_of(curve: Curve, *, least_evidence: float) -> list[Change]:
    """Every change of the curve with a log Bayes factor of at least `least_evidence`, by midpoint, and its spikes."""
    grid = _grid(np.ascontiguousarray(curve.x).tobytes())
    found = _eliminate(curve, grid, _grow(curve, grid), least_evidence)
    if found is None:
        return []
    best, evidence, autocorrelation, inflation = found
    if oscillates(curve, grid.library, best.rss, parameters_of(best), inflation):
        return []
    changes = []
    for group in _rises(curve, best):
        parts = [best.components[k] for k in group]
        amplitude = float(sum(best.amplitudes[k] for k in group))
        onset, centre, end = _dates(curve, parts, best.amplitudes[group])
        main = max(group, key=lambda k: abs(best.amplitudes[k]))
        size = abs(amplitude) * (curve.x[-1] - centre if parts[0].shape == "kink" else 1.0)
        poorer = min(int(np.sum(curve.x < onset)), int(np.sum(curve.x > end)))
        changes.append(
            Change(
                curve=curve,
                shape=parts[0].shape,
                onset=onset,
                centre=centre,
                end=end,
                amplitude=amplitude,
                share=float(size / curve.spread),
                log_bayes_factor=float(max(evidence[k] for k in group)),
                errors=_errors(curve, best, main, inflation),
                autocorrelation=autocorrelation,
                beside=poorer,
            )
        )
    return sorted(changes, key=lambda change: change.centre)


def _rises(curve: Curve, best: Fit) -> list[list[int]]:
    """Sigmoids of one sign that follow each other without a pause are one change: growth and saturation of one mode.

    A pause: between the two centres the speed falls below half that of the slower one. Others stand alone.
    """
    order = sorted(range(len(best.components)), key=lambda k: best.components[k].centre)
    groups: list[list[int]] = []
    for k in order:
        one = best.components[k]
        last = groups[-1] if groups else []
        if last and one.shape == "sigmoid" and best.components[last[-1]].shape == "sigmoid":
            joint = [*last, k]
            signs = {bool(best.amplitudes[j] > 0) for j in joint}
            onset, _, end = _dates(curve, [best.components[j] for j in joint], best.amplitudes[joint])
            if len(signs) == 1 and end - onset <= WIDEST and not _pauses(best, last[-1], k):
                groups[-1] = joint
                continue
        groups.append([k])
    return groups


def _pauses(best: Fit, first: int, second: int) -> bool:
    x = np.linspace(best.components[first].centre, best.components[second].centre, 41)
    speed = sum(abs(best.amplitudes[j]) * -best.components[j].slopes(x)[:, 0] for j in (first, second))
    return bool(np.min(speed) < 0.5 * min(speed[0], speed[-1]))


def _dates(curve: Curve, parts: list[Component], amplitudes: np.ndarray) -> tuple[float, float, float]:
    """log10(step) where the sum of the parts has done 10, 50 and 90% of its way; a jump lies in one gap."""
    if len(parts) == 1:
        one = parts[0]
        gap = gap_at(curve.x, one.centre)
        if one.shape in ("sigmoid", "ramp") and one.width < gap:
            right = int(np.clip(np.searchsorted(curve.x, one.centre), 1, len(curve.x) - 1))
            left_end, right_end = float(curve.x[right - 1]), float(curve.x[right])
            return left_end, (left_end + right_end) / 2, right_end
        return one.centre - one.width / 2, one.centre, one.centre + one.width / 2
    low = min(one.centre - 2 * one.width for one in parts)
    high = max(one.centre + 2 * one.width for one in parts)
    x = np.linspace(low, high, 2001)
    done = sum(a * one.column(x) for a, one in zip(amplitudes, parts, strict=True)) / np.sum(amplitudes)
    onset, centre, end = np.interp([0.1, 0.5, 0.9], np.maximum.accumulate(done), x)
    return float(onset), float(centre), float(end)


def _errors(curve: Curve, best: Fit, main: int, inflation: float) -> tuple[float, float, float]:
    """Standard errors of onset, centre, end in decades, from the curvature of chi² (Laplace) times the inflation."""
    one = best.components[main]
    # A change between two checkpoints is anywhere between them.
    least = gap_at(curve.x, one.centre) / np.sqrt(12)
    if main not in best.moving:
        return least, least, least
    place = 2 * best.moving.index(main)
    block = best.covariance[place : place + 2, place : place + 2] * inflation
    half = one.width / 2  # d(width)/2 = width/2 d(log width)
    edges = [np.array([1.0, -half]), np.array([1.0, 0.0]), np.array([1.0, half])]
    errors = [float(np.clip(np.sqrt(max(edge @ block @ edge, 0.0)), least, 0.5)) for edge in edges]
    return errors[0], errors[1], errors[2]


def _nulls(grid: _Grid, curve: Curve, components: tuple[Component, ...], keep: int) -> list[NullFit]:
    columns = [np.ones(len(curve.x)), *(one.column(curve.x) for one in components)]
    fixed = np.stack(columns, axis=1) / curve.sigma[:, None]
    return best_nulls(grid.library, curve.sigma, fixed, curve.y / curve.sigma, keep=keep)


def _refit(grid: _Grid, curve: Curve, components: tuple[Component, ...], iterations: int) -> Fit:
    """Null chosen anew for these components, then everything fitted; other nulls if the best one only cancels them."""
    n = len(curve.x)
    fits: list[Fit] = []
    for null in _nulls(grid, curve, components, 5):
        fits.append(
            fit(curve.x, curve.y, curve.sigma, components, grid.library.shapes, null.columns, iterations=iterations)
        )
        if _implausible(curve, fits[-1]) == 0:
            break
    return min(fits, key=lambda one: _cost(one, n) + _implausible(curve, one))


def _cost(one: Fit, n: int) -> float:
    """chi² plus the BIC price of the null and of the components."""
    return one.rss + parameters_of(one) * float(np.log(n))


def parameters_of(one: Fit) -> int:
    """Two for each null term (amplitude, time), three for each component (amplitude, centre, width)."""
    return 2 * len(one.null) + 3 * len(one.components)


def _grow(curve: Curve, grid: _Grid) -> Fit:
    """Changes on a slow null or on none, whichever costs less: beside a null, a staircase looks like its ripples."""
    n = len(curve.x)
    best = _simplified(curve, grid, _grown(curve, grid, nulls=8))
    if any(one.shape == "sigmoid" for one in best.components):
        starts = (_grown(curve, grid, nulls=0), _staircase(curve, grid))
        rivals = [best, *(_simplified(curve, grid, start) for start in starts)]
        best = min(rivals, key=lambda one: _cost(one, n) + _implausible(curve, one))
    return best


def _staircase(curve: Curve, grid: _Grid) -> Fit:
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


def _simplified(curve: Curve, grid: _Grid, full: Fit) -> Fit:
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
            onset, centre, end = _dates(curve, [full.components[k] for k in group], full.amplitudes[group])
            if not 3 * gap_at(curve.x, centre) < end - onset <= 1.1 * WIDEST:
                continue
            rest = tuple(one for k, one in enumerate(full.components) if k not in group)
            one = Component("ramp", centre, min(end - onset, 0.99 * WIDEST))
            trial = fit(curve.x, curve.y, curve.sigma, (*rest, one), grid.library.shapes, full.null, iterations=10)
            if _cost(trial, n) + _implausible(curve, trial) < _cost(full, n) + _implausible(curve, full) - 2:
                full, improved = trial, True
                break
    return full


def _grown(curve: Curve, grid: _Grid, *, nulls: int) -> Fit:
    """Add one component after the other, each time for several nulls (0: none at all), while the BIC falls."""
    n = len(curve.x)
    weighted = grid.atoms / curve.sigma[:, None]
    norms = np.einsum("nk,nk->k", weighted, weighted)
    target = curve.y / curve.sigma
    bare = NullFit((), 0.0)
    empty = fit(curve.x, curve.y, curve.sigma, (), grid.library.shapes, (), iterations=0)
    best = _refit(grid, curve, (), 0) if nulls else empty
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
            trials += [grown, _refit(grid, curve, grown.components, 8)] if nulls else [grown]
        grown = min(trials, key=lambda one: _cost(one, n) + _implausible(curve, one))
        if _cost(grown, n) + _implausible(curve, grown) > _cost(best, n) + _implausible(curve, best) - 2:
            break
        best = grown
    return best


def _implausible(curve: Curve, one: Fit) -> float:
    """Price of components that cancel against each other or the null: larger than anything the curve does."""
    sizes = [
        abs(a) for a, part in zip(one.amplitudes, one.components, strict=True) if part.shape in ("sigmoid", "ramp")
    ]
    return 20.0 * sum(size > LARGEST_SHARE * np.ptp(curve.y) for size in sizes)


def _eliminate(
    curve: Curve, grid: _Grid, full: Fit, least_evidence: float
) -> tuple[Fit, np.ndarray, float, float] | None:
    """Drop the weakest component until all have the evidence, the size and the shape of a transition."""
    n = len(curve.x)
    while full.components:
        inflation, autocorrelation = _inflation(full.residual)
        evidence = np.zeros(len(full.components))
        rivals: list[Fit] = []
        for k in range(len(full.components)):
            rest = tuple(one for j, one in enumerate(full.components) if j != k)
            rivals.append(_refit(grid, curve, rest, 6))
            extra = 2 * (len(full.null) - len(rivals[k].null)) + 3
            drop = (rivals[k].rss - full.rss) / inflation
            evidence[k] = 0.5 * drop - 0.5 * extra * np.log(max(n / inflation, 8.0))
        verdict = [evidence[k] - _unfit(curve, full, k) for k in range(len(full.components))]
        worst = int(np.argmin(verdict))
        if verdict[worst] >= least_evidence:
            return full, evidence, autocorrelation, inflation
        full = rivals[worst]
    return None


def _unfit(curve: Curve, full: Fit, k: int) -> float:
    """Infinite for a component that is too small, too wide, or cancels against the null; else 0."""
    one, amplitude = full.components[k], abs(float(full.amplitudes[k]))
    if one.shape == "spike":
        return 0.0
    size = amplitude * max(float(curve.x[-1]) - one.centre, 0.0) if one.shape == "kink" else amplitude
    noise = float(np.interp(one.centre, curve.x, curve.sigma))
    small = size < SMALLEST_SHARE * curve.spread or size < SMALLEST_SIGNAL * noise
    wide = one.width >= 0.999 * WIDEST
    cancels = size > LARGEST_SHARE * np.ptp(curve.y) or _undone(curve, full, k)
    outside = min(np.sum(curve.x < one.centre), np.sum(curve.x > one.centre)) < 2
    return 1e6 if small or wide or cancels or outside else 0.0


def _undone(curve: Curve, full: Fit, k: int) -> bool:
    """Whether the rest of the fit takes back over the change's own span what the change gives: then nothing moved."""
    one = full.components[k]
    if one.shape == "kink":
        return False
    ends = np.array([one.centre - one.width / 2, one.centre + one.width / 2])
    fitted = curve.y - full.residual * curve.sigma
    net = float(np.diff(np.interp(ends, curve.x, fitted))[0])
    own = 0.8 * float(full.amplitudes[k])
    return one.width > 2 * gap_at(curve.x, one.centre) and net / own < 0.2


def _inflation(residual: np.ndarray) -> tuple[float, float]:
    """How much noisier than white unit noise the residuals are: (variance × autocorrelation time, lag-one correlation).

    Residuals below the noise that was assumed are what the floor allows for; their correlation then counts in part.
    """
    variance = float(np.mean(residual**2))
    rho = float(residual[1:] @ residual[:-1] / max(residual @ residual, 1e-12))
    felt = float(np.clip(rho, 0.0, 0.95)) * min(1.0, variance)
    return max(1.0, variance) * (1 + felt) / (1 - felt), rho
