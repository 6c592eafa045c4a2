"""Elimination: each component of a fit is weighed against the fit without it, and the weakest goes, one by one.

The evidence for a change is half of what leaving it out would cost (BIC; chi² with the noise inflated by what the
residuals show), summed over the curves that move.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from devi.transitions.bundle import LARGEST_SHARE, Bundle, Shared, curve_cost, dates, kept, observed, settled, solved
from devi.transitions.curves import SMALLEST_SHARE
from devi.transitions.fit import WIDEST, gap_at
from devi.transitions.grid import SLOW
from devi.transitions.nulls import null_price
from devi.transitions.refinement import without
from devi.transitions.search import regrouped

SMALLEST_SIGNAL = 2.5  # times the noise
TOO_WIDE = 0.97 * WIDEST  # a width this near its bound was stopped by it: the change is slower than a transition


@dataclass(frozen=True)
class Weighed:
    """evidence: of each component the log Bayes factor in each curve that moves, nats; rivals: the fit without it."""

    bundle: Bundle
    fit: Shared
    evidence: list[dict[int, float]]
    rivals: list[Shared]

    def fitted(self, m: int, *, without: int | None = None) -> np.ndarray:
        """What the fit says of curve m, (n,), or the best fit without one of the components."""
        fit = self.fit if without is None else self.rivals[without]
        return self.bundle.curves[m].y - fit.states[m].residual * self.bundle.curves[m].sigma


def eliminated(bundle: Bundle, fit: Shared, least_evidence: float) -> Weighed:
    """Drop the weakest component until all have the evidence, the size and the shape of a transition."""
    least_evidence += bundle.correction
    every = range(len(bundle.curves))
    while fit.components:
        rivals = [without(bundle, fit, [k]) for k in range(len(fit.components))]
        evidence = []
        for k, (rival, one) in enumerate(zip(rivals, fit.components, strict=True)):
            lost = {m: curve_cost(bundle, rival, m) - curve_cost(bundle, fit, m) for m in every}
            # Dates that move when it goes change other curves too; that and the price of its dates is everybody's.
            common = sum(value for m, value in lost.items() if m not in fit.members[k])
            common -= dates(one) * bundle.shared_price
            evidence.append({m: 0.5 * (lost[m] + common / len(fit.members[k])) for m in sorted(fit.members[k])})
        verdict = [
            bundle.own_share(members) * sum(each.values()) - _unfit(bundle, fit, k)
            for k, (each, members) in enumerate(zip(evidence, fit.members, strict=True))
        ]
        worst = int(np.argmin(verdict))
        if verdict[worst] >= least_evidence:
            return Weighed(bundle, fit, evidence, rivals)
        fit = regrouped(bundle, rivals[worst])
    return Weighed(bundle, fit, [], [])


def reweighed(bundle: Bundle, fit: Shared) -> Bundle:
    """The curves with their noise inflated by what the residuals of this fit show, no longer by what was guessed."""
    curves = []
    for m, (curve, state) in enumerate(zip(bundle.curves, fit.states, strict=True)):
        raw = curve.sigma / np.sqrt(curve.inflation)
        parameters = 1 + null_price(fit.nulls[m]) + sum(1 + dates(fit.components[k]) for k in fit.of(m))
        inflation = inflation_of(state.residual * np.sqrt(curve.inflation), parameters)[0]
        curves.append(replace(curve, sigma=raw * np.sqrt(inflation), inflation=inflation))
    return replace(bundle, curves=tuple(curves))


def _unfit(bundle: Bundle, fit: Shared, k: int) -> float:
    """Infinite for a component that is too wide, at the very edge, or nowhere large enough; else 0."""
    one = fit.components[k]
    if one.shape == "spike":
        return 0.0
    wide = one.width >= (SLOW if one.shape == "kink" else TOO_WIDE)
    outside = min(np.sum(bundle.x < one.centre), np.sum(bundle.x > one.centre)) < 1
    nowhere = all(_slight(bundle, fit, k, m) for m in fit.members[k])
    return 1e6 if wide or outside or nowhere else 0.0


def _slight(bundle: Bundle, fit: Shared, k: int, m: int) -> bool:
    """Whether the change is too small in curve m, or only cancels against the rest of the fit."""
    one, curve = fit.components[k], bundle.curves[m]
    size = observed(bundle, one, fit.amplitude(m, k), m)
    noise = float(np.interp(one.centre, curve.x, curve.sigma)) / np.sqrt(curve.inflation)
    small = size < max(SMALLEST_SHARE * curve.spread, curve.material) or size < SMALLEST_SIGNAL * noise * (
        len(fit.members[k]) == 1
    )
    cancels = one.shape != "kink" and size > LARGEST_SHARE * curve.reach
    return small or cancels or _undone(bundle, fit, k, m)


def _undone(bundle: Bundle, fit: Shared, k: int, m: int) -> bool:
    """Whether the rest of the fit takes back over the change's own span what the change gives: then nothing moved."""
    one, curve = fit.components[k], bundle.curves[m]
    if one.shape == "kink":
        return False
    ends = np.array([one.centre - one.width / 2, one.centre + one.width / 2])
    fitted = curve.y - fit.states[m].residual * curve.sigma
    net = float(np.diff(np.interp(ends, curve.x, fitted))[0])
    return one.width > 2 * gap_at(curve.x, one.centre) and net / (0.8 * fit.amplitude(m, k)) < 0.2


def inflation_of(residual: np.ndarray, parameters: int = 0) -> tuple[float, float]:
    """How much noisier than white unit noise the residuals are: (variance × autocorrelation time, lag-one correlation).

    Residuals below the noise that was assumed are what the floor allows for; their correlation then counts in part.
    A fit of so many parameters takes slow noise along: the correlation r that it leaves of rho is low by
    (1 + 3 rho + parameters (1 + rho)) / n. Marriott & Pope 1954, Biometrika 41:390, for a mean; the rest was found by
    simulating noise under polynomials.
    """
    variance = float(np.mean(residual**2))
    rho = float(residual[1:] @ residual[:-1] / max(residual @ residual, 1e-12))
    n = len(residual)
    before = (rho + (1 + parameters) / n) / (1 - min(3 + parameters, n / 2) / n) if parameters else rho
    felt = float(np.clip(before, 0.0, 0.95)) * min(1.0, variance)
    return max(1.0, variance) * (1 + felt) / (1 - felt), rho


def narrowed(bundle: Bundle, fit: Shared, still: set[int]) -> Shared:
    """The fit in which the curves `still` move with nothing."""
    members = tuple(one - still for one in fit.members)
    keep = [k for k, one in enumerate(members) if one]
    rest = kept(fit._replace(members=members), keep)
    return settled(bundle, solved(bundle, rest, still), sorted(still))
