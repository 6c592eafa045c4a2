"""Changes of the curves of a run: sigmoids, ramps, kinks and nuisance spikes on slow nulls, weighed and dated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from devi.transitions.bundle import STEPS, Bundle, Shared, cost, empty, settled, sober_cost
from devi.transitions.curves import Curve
from devi.transitions.dating import dated, replicated
from devi.transitions.elimination import Weighed, eliminated, inflation_of, narrowed, reweighed
from devi.transitions.exchange import exchanged
from devi.transitions.fit import WIDEST, Component, Shape, dates_of, gap_at
from devi.transitions.grid import grid_of
from devi.transitions.nulls import begins_late
from devi.transitions.oscillation import Waves
from devi.transitions.search import starts
from devi.transitions.shown import Course

MOST_OFF = 1.0  # decades
# The bootstrap knows the noise and the nulls, but not that the shape was chosen by the same data, nor that no null is
# the true one: beside losses that fall anyway 85% of the intervals hold the midpoint at 1.2, 88% at 1.3 (by hand).
WIDER = 1.25
# Of the width: what a slow null beside a broad change takes of its flanks, so that onsets come out late and ends early;
# low and high of onset, centre and end, by the quantiles of seeds 0 to 29 of benchmarks/transitions_found.py.
FLANKS = np.array([[-0.15, 0.0, -0.05], [0.05, 0.0, 0.15]])
CERTAIN = 5.0  # times the noise: a jump so large lies between these two checkpoints and no others
# Times the way from midpoint to end: of a sigmoid whose midpoint is no further from the first row than this, a third
# lies before.
BEGUN = 0.4
FEWEST_BESIDE = 4  # checkpoints on each side, below which a change is reported but cannot be resolved


@dataclass(frozen=True)
class Change:
    """One change of one curve. onset, centre, end (10, 50, 90%) in log10(step); amplitude in the metric's unit.

    amplitude     as far as it was observed; for a kink, what the new slope adds by the end of the run
    share         |amplitude| over the metric's range
    off           5% and 95% quantiles of how far onset, centre and end may be off, (3, 2), decades
    beside        checkpoints on the poorer side of the change
    own_share     of its evidence, what is no repetition of others': curves may share their noise
    fitted        the best fit of the curve, (n,), and `without` the best one that lacks this change
    """

    curve: Curve
    shape: Shape
    onset: float
    centre: float
    end: float
    amplitude: float
    share: float
    log_bayes_factor: float
    off: np.ndarray
    autocorrelation: float
    beside: int
    own_share: float
    fitted: np.ndarray
    without: np.ndarray

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


def changes_of(curves: Sequence[Curve], *, least_evidence: float, seed: int = 0) -> list[Change]:
    """Every change of curves that are searched together, with `least_evidence` in all that move, and their spikes."""
    every = max((np.ascontiguousarray(curve.x) for curve in curves), key=len).tobytes()
    grids = tuple(grid_of(np.ascontiguousarray(curve.x).tobytes(), every) for curve in curves)
    plain = (curve.plain for curve in curves)
    wider = tuple(replace(curve, sigma=curve.sigma * np.sqrt(curve.inflation)) for curve in plain)
    bundle = Bundle(wider, grids)
    found = _found(bundle, least_evidence)
    pulls, together = replicated(found.bundle, found.fit, seed=seed)
    changes = []
    for m, curve in enumerate(curves):
        changes += _changes(found, m, curve, (pulls[m], together))
    return sorted(changes, key=lambda change: change.centre)


def _found(bundle: Bundle, least_evidence: float) -> Weighed:
    """The cheapest of the starts after exchange and elimination, all with the noise that the best of them left."""
    fits = [exchanged(bundle, start) for start in starts(bundle)]
    is_shared = bundle.own_share(range(len(bundle.curves))) < 1
    calm = [*fits, empty(bundle)] if is_shared else fits  # else none of them costs more than nothing
    bundle = reweighed(bundle, min(calm, key=lambda fit: sober_cost(bundle, fit)))
    waves = Waves(bundle)
    results: list[Weighed] = []
    for fit in {_outline(fit): fit for fit in fits}.values():
        fit = settled(bundle, fit, range(len(bundle.curves)))
        found = eliminated(bundle, narrowed(bundle, fit, waves.explaining(fit)), least_evidence)
        if len(found.fit.components) < len(fit.components):  # what is gone now may have stood in the way
            again = exchanged(bundle, found.fit)
            if again is not found.fit:
                found = eliminated(bundle, again, least_evidence)
        still = waves.explaining(found.fit)
        results.append(eliminated(bundle, narrowed(bundle, found.fit, still), least_evidence) if still else found)
    return min(results, key=lambda found: cost(bundle, found.fit))


def _outline(fit: Shared) -> tuple[tuple[str, float], ...]:
    """What tells two fits apart: shapes and dates to a hundredth of a decade."""
    return tuple(sorted((one.shape, round(one.centre, 2)) for one in fit.components))


def _changes(found: Weighed, m: int, curve: Curve, replicas: tuple[np.ndarray, np.ndarray]) -> list[Change]:
    """The changes of curve m; those that follow each other without a pause are one."""
    fit = found.fit
    own = fit.of(m)
    if not own:
        return []
    parts, amplitudes, deviations = dated(found.bundle, fit, m, *replicas)
    evidence = [found.evidence[k][m] for k in own]
    autocorrelation = inflation_of(fit.states[m].residual)[1]
    changes = []
    course = Course.of(found.bundle.curves[m], found.fitted(m), parts, amplitudes)
    shown = [j for j in range(len(own)) if course.shows(parts[j], amplitudes[j])]
    for group in _rises(curve.x, parts, amplitudes, shown):
        some, sizes = [parts[j] for j in group], amplitudes[group]
        amplitude = _observed(curve, some, sizes)
        dates = course.dated(some[0].shape, dates_of(curve.x, some, sizes), amplitude)
        # What is still going on when the run ends has no later date than that.
        onset, centre, end = np.clip(dates, curve.x[0], curve.x[-1]).tolist()
        # No level before it was seen, where a record begins late: it began before.
        if dates[1] - curve.x[0] < BEGUN * (dates[2] - dates[1]) and begins_late(curve.x):
            continue
        main = max(group, key=lambda j: abs(amplitudes[j]))
        changes.append(
            Change(
                curve=curve,
                shape=some[0].shape,
                onset=onset,
                centre=centre,
                end=end,
                amplitude=amplitude * curve.spread,
                share=abs(amplitude),
                log_bayes_factor=float(max(evidence[j] for j in group)) - found.bundle.correction,
                off=_off(curve, parts[main], deviations[2 * main : 2 * main + 2], amplitudes[main]),
                autocorrelation=autocorrelation,
                beside=min(int(np.sum(curve.x < onset)), int(np.sum(curve.x > end))),
                own_share=found.bundle.own_share(fit.members[own[main]]),
                fitted=curve.middle + curve.spread * found.fitted(m),
                without=curve.middle + curve.spread * found.fitted(m, without=own[main]),
            )
        )
    return changes


def _observed(curve: Curve, parts: list[Component], amplitudes: np.ndarray) -> float:
    """What the parts add between the first and the last checkpoint; of a spike, which comes back, its height."""
    if parts[0].shape == "spike":
        return float(np.sum(amplitudes))
    ends = curve.x[[0, -1]]
    return float(sum(a * np.diff(part.column(ends))[0] for a, part in zip(amplitudes, parts, strict=True)))


def _rises(x: np.ndarray, parts: list[Component], amplitudes: np.ndarray, some: list[int]) -> list[list[int]]:
    """Some of the parts, grouped: those of one sign that follow without a pause, growth and saturation of one mode.

    Without a pause: one's midpoint lies in the other's span, or between the two centres (of sigmoids) the speed stays
    above half that of the slower one. Kinks and spikes stand alone.
    """
    order = sorted(some, key=lambda k: parts[k].centre)
    groups: list[list[int]] = []
    for k in order:
        last = groups[-1] if groups else []
        if last and {parts[k].shape, parts[last[-1]].shape} <= {"sigmoid", "ramp"}:
            joint = [*last, k]
            signs = {bool(amplitudes[j] > 0) for j in joint}
            onset, _, end = dates_of(x, [parts[j] for j in joint], amplitudes[joint])
            if len(signs) == 1 and end - onset <= WIDEST and not _pauses(parts, amplitudes, last[-1], k):
                groups[-1] = joint
                continue
        groups.append([k])
    return groups


def _pauses(parts: list[Component], amplitudes: np.ndarray, first: int, second: int) -> bool:
    one, other = parts[first], parts[second]
    distance = abs(other.centre - one.centre)
    if distance <= max(one.width, other.width) / 2:
        return False
    if "ramp" in (one.shape, other.shape):
        return True
    x = np.linspace(one.centre, other.centre, 41)
    speed = sum(abs(amplitudes[j]) * -parts[j].slopes(x)[0] for j in (first, second))
    return bool(np.min(speed) < 0.5 * min(speed[0], speed[-1]))


def _off(curve: Curve, one: Component, deviations: np.ndarray, share: float) -> np.ndarray:
    """Quantiles 5% and 95% of onset, centre and end about their values, (3, 2), decades.

    deviations  of centre and log width, (2, replicate)
    share       the size of the change, of the curve's spread
    """
    gap = gap_at(curve.x, one.centre)
    least = 0.45 * gap  # a change between two checkpoints is anywhere between them
    # Where no checkpoint sees the change go on, one Gauss-Newton step may lead anywhere; it stays where it was seen, a
    # jump that no noise could move by a checkpoint between its two.
    noise = float(np.interp(one.centre, curve.x, curve.sigma)) / curve.spread
    is_certain = one.width < gap and abs(share) > CERTAIN * noise
    reach = least / WIDER if is_certain else max(one.width, gap)
    centre = np.clip(deviations[0], -reach, reach)
    half = one.width / 2 * np.expm1(np.clip(deviations[1], -2.0, 2.0))
    low, high = WIDER * np.quantile([centre - half, centre, centre + half], [0.05, 0.95], axis=1) + one.width * FLANKS
    off = np.stack([np.clip(low, -MOST_OFF, -least), np.clip(high, least, MOST_OFF)], axis=1)
    if one.shape in STEPS and one.width < gap:  # its dates are both checkpoints and their middle: each may be anywhere
        off[:, 0] = np.fmin(off[:, 0], [0.0, -gap / 2, -gap])
        off[:, 1] = np.fmax(off[:, 1], [gap, gap / 2, 0.0])
    return off
