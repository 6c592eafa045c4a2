"""Elimination: each component of a fit is weighed against the fit without it, and the weakest goes, one by one.

The evidence for a change is half the drop of chi² that it brings when the rest, null included, is fitted again, divided
by the inflation (variance × autocorrelation time) of the residuals, less log n for each half parameter (BIC).
"""

from __future__ import annotations

import numpy as np

from devi.transitions.curves import Curve
from devi.transitions.fit import WIDEST, Fit, gap_at
from devi.transitions.growth import LARGEST_SHARE, Grid, refit

SMALLEST_SHARE = 0.1  # of the curve's range
SMALLEST_SIGNAL = 2.5  # times the noise
TOO_WIDE = 0.97 * WIDEST  # a width this near its bound was stopped by it: the change is slower than a transition


def eliminate(
    curve: Curve, grid: Grid, full: Fit, least_evidence: float
) -> tuple[Fit, np.ndarray, float, float] | None:
    """Drop the weakest component until all have the evidence, the size and the shape of a transition."""
    n = len(curve.x)
    while full.components:
        inflation, autocorrelation = inflation_of(full.residual)
        evidence = np.zeros(len(full.components))
        rivals: list[Fit] = []
        for k in range(len(full.components)):
            rest = tuple(one for j, one in enumerate(full.components) if j != k)
            rivals.append(refit(grid, curve, rest, 6))
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
    wide = one.width >= TOO_WIDE
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


def inflation_of(residual: np.ndarray) -> tuple[float, float]:
    """How much noisier than white unit noise the residuals are: (variance × autocorrelation time, lag-one correlation).

    Residuals below the noise that was assumed are what the floor allows for; their correlation then counts in part.
    """
    variance = float(np.mean(residual**2))
    rho = float(residual[1:] @ residual[:-1] / max(residual @ residual, 1e-12))
    felt = float(np.clip(rho, 0.0, 0.95)) * min(1.0, variance)
    return max(1.0, variance) * (1 + felt) / (1 - felt), rho
