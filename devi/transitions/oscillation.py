"""Log-periodic oscillation: a wiggle of one frequency in log10(step) on a slow null, which no transition is.

    y(x) = null(x) + a cos(2 pi f x) + b sin(2 pi f x)

It is preferred over the changes that were found if it costs no more (chi² plus log n for each parameter) and
repeats at least PERIODS times within the run.
"""

from __future__ import annotations

import numpy as np

from devi.transitions.curves import Curve
from devi.transitions.nulls import Library, best_nulls

PERIODS = 2.0  # fewer repetitions are no oscillation but a few changes
SHORTEST = 0.15  # decades; a faster wiggle is noise to the detector


def oscillates(curve: Curve, library: Library, rss: float, parameters: int, inflation: float) -> bool:
    """Whether null + oscillation costs no more than the fit with changes, of chi² `rss` and so many `parameters`.

    Both chi² are divided by `inflation`, the variance and correlation that the fit with changes left.
    """
    x, n = curve.x, len(curve.x)
    span = float(x[-1] - x[0])
    frequencies = np.arange(PERIODS / span, 1 / SHORTEST, 0.15 / span)
    target = curve.y / curve.sigma
    one = np.ones((n, 1)) / curve.sigma[:, None]
    waves = np.stack([np.cos(2 * np.pi * np.outer(x, frequencies)), np.sin(2 * np.pi * np.outer(x, frequencies))])
    waves = waves / curve.sigma[:, None]  # (2, n, frequencies)
    gains = np.zeros(len(frequencies))
    for null in best_nulls(library, curve.sigma, one, target, keep=4):
        q = np.linalg.qr(np.concatenate([one, library.shapes[:, list(null.columns)] / curve.sigma[:, None]], axis=1))[0]
        rest = target - q @ (q.T @ target)
        c, s = waves[0] - q @ (q.T @ waves[0]), waves[1] - q @ (q.T @ waves[1])
        cc, ss, cs = (c * c).sum(0), (s * s).sum(0), (c * s).sum(0)
        gc, gs = c.T @ rest, s.T @ rest
        gains = np.maximum(gains, (gc**2 * ss - 2 * gc * gs * cs + gs**2 * cc) / np.maximum(cc * ss - cs**2, 1e-9))
    for k in np.argsort(gains)[::-1][:4]:
        fixed = np.concatenate([one, waves[:, :, k].T], axis=1)
        null = best_nulls(library, curve.sigma, fixed, target, keep=1)[0]
        saved = parameters - 2 * len(null.columns) - 3
        if (null.rss - rss) / inflation <= saved * np.log(n):
            return True
    return False
