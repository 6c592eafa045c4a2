"""Changes of one curve: sigmoids, ramps, kinks and nuisance spikes on a slow null, found, weighed and dated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from devi.transitions.curves import Curve
from devi.transitions.elimination import eliminate, inflation_of
from devi.transitions.fit import WIDEST, Component, Fit, Shape, dates_of, gap_at
from devi.transitions.growth import grid_of, grow, parameters_of
from devi.transitions.oscillation import oscillates

FEWEST_BESIDE = 4  # checkpoints on each side, below which a change is reported but cannot be resolved


@dataclass(frozen=True)
class Change:
    """One change of one curve. onset, centre, end (10, 50, 90%) in log10(step); amplitude in the metric's unit.

    amplitude     as far as it was observed; for a kink, what the new slope adds by the end of the run
    share         |amplitude| over the metric's range
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


def changes_of(curve: Curve, *, least_evidence: float) -> list[Change]:
    """Every change of the curve with a log Bayes factor of at least `least_evidence`, by midpoint, and its spikes."""
    grid = grid_of(np.ascontiguousarray(curve.x).tobytes())
    grown = grow(curve, grid)
    if grown.components and oscillates(
        curve, grid.library, grown.rss, parameters_of(grown), inflation_of(grown.residual)[0]
    ):
        return []
    found = eliminate(curve, grid, grown, least_evidence)
    if found is None:
        return []
    best, evidence, autocorrelation, inflation = found
    if oscillates(curve, grid.library, best.rss, parameters_of(best), inflation):
        return []
    changes = []
    for group in _rises(curve, best):
        parts = [best.components[k] for k in group]
        amplitude = _observed(curve, parts, best.amplitudes[group])
        # What is still going on when the run ends has no later date than that.
        onset, centre, end = np.clip(dates_of(curve.x, parts, best.amplitudes[group]), curve.x[0], curve.x[-1]).tolist()
        main = max(group, key=lambda k: abs(best.amplitudes[k]))
        poorer = min(int(np.sum(curve.x < onset)), int(np.sum(curve.x > end)))
        changes.append(
            Change(
                curve=curve,
                shape=parts[0].shape,
                onset=onset,
                centre=centre,
                end=end,
                amplitude=amplitude,
                share=float(abs(amplitude) / curve.spread),
                log_bayes_factor=float(max(evidence[k] for k in group)),
                errors=_errors(curve, best, main, inflation),
                autocorrelation=autocorrelation,
                beside=poorer,
            )
        )
    return sorted(changes, key=lambda change: change.centre)


def _observed(curve: Curve, parts: list[Component], amplitudes: np.ndarray) -> float:
    """What the parts add between the first and the last checkpoint; of a spike, which comes back, its height."""
    if parts[0].shape == "spike":
        return float(np.sum(amplitudes))
    ends = curve.x[[0, -1]]
    return float(sum(a * np.diff(part.column(ends))[0] for a, part in zip(amplitudes, parts, strict=True)))


def _rises(curve: Curve, best: Fit) -> list[list[int]]:
    """Sigmoids and ramps of one sign that follow without a pause are one change: growth and saturation of one mode.

    Without a pause: one's midpoint lies in the other's span, or between the two centres (of sigmoids) the speed stays
    above half that of the slower one. Others stand alone.
    """
    order = sorted(range(len(best.components)), key=lambda k: best.components[k].centre)
    groups: list[list[int]] = []
    for k in order:
        one = best.components[k]
        last = groups[-1] if groups else []
        if last and {one.shape, best.components[last[-1]].shape} <= {"sigmoid", "ramp"}:
            joint = [*last, k]
            signs = {bool(best.amplitudes[j] > 0) for j in joint}
            onset, _, end = dates_of(curve.x, [best.components[j] for j in joint], best.amplitudes[joint])
            if len(signs) == 1 and end - onset <= WIDEST and not _pauses(best, last[-1], k):
                groups[-1] = joint
                continue
        groups.append([k])
    return groups


def _pauses(best: Fit, first: int, second: int) -> bool:
    one, other = best.components[first], best.components[second]
    distance = abs(other.centre - one.centre)
    if distance <= max(one.width, other.width) / 2:
        return False
    if "ramp" in (one.shape, other.shape):
        return True
    x = np.linspace(one.centre, other.centre, 41)
    speed = sum(abs(best.amplitudes[j]) * -best.components[j].slopes(x)[:, 0] for j in (first, second))
    return bool(np.min(speed) < 0.5 * min(speed[0], speed[-1]))


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
