"""Noise of a curve around its smooth course: its size at each point, its outliers, how much it is correlated."""

from __future__ import annotations

import numpy as np

FEW = 0.05  # of the points: what is more frequent than that is noise, and no outlier
MOST_CORRELATED = 0.8  # beyond that noise cannot be told from change
LONGEST_CORRELATED = 0.95  # the same where there are thousands of rows, of which a change takes few
LAGS = (1, 3, 7)  # checkpoints
CHANCE = 4.0  # standard deviations of the agreement of independent noise, of independent points
LARGEST_GUESS = 4.0  # of the inflation; the residuals of a fit know better


def running_median(y: np.ndarray, window: int) -> np.ndarray:
    """Median over a centred window, (n,), of as much of it as lies within the curve."""
    half = window // 2
    outside, place = np.full(half, np.inf), np.arange(len(y))
    ordered = np.sort(np.lib.stride_tricks.sliding_window_view(np.concatenate([outside, y, outside]), window), axis=1)
    count = 1 + np.minimum(place, half) + np.minimum(place[::-1], half)
    return 0.5 * (ordered[place, (count - 1) // 2] + ordered[place, count // 2])


def without_outliers(y: np.ndarray) -> np.ndarray:
    """Replace single points more than 5 robust deviations from the median of seven by that median.

    Counts and coins have no robust deviation where most of them are the same: many points that stand out are noise.
    """
    middle = running_median(y, 7)
    distance = np.abs(y - middle)
    spread = np.maximum(1.4826 * running_median(distance, 7), 1.4826 * np.median(distance))
    out = distance > np.maximum(5 * spread, 1e-2 * np.ptp(middle))
    # Two neighbours beyond the same side are a change, or a spike with a recovery: those are modelled, not removed.
    lonely = out & ~np.concatenate([[False], out[:-1]]) & ~np.concatenate([out[1:], [False]])
    # Near an end the window is cut short, and a change beside the point decides its median.
    lonely[[0, 1, 2, -3, -2, -1]] = False
    if lonely.sum() > max(FEW * len(y), 1):
        return y
    return np.where(lonely, middle, y)


def _bent(x: np.ndarray, y: np.ndarray, lag: int) -> np.ndarray:
    """y_i - chord of y_{i-lag} and y_{i+lag} over its standard deviation for white unit noise, (n - 2 lag,)."""
    b = (x[lag:-lag] - x[: -2 * lag]) / (x[2 * lag :] - x[: -2 * lag])
    return (y[lag:-lag] - (1 - b) * y[: -2 * lag] - b * y[2 * lag :]) / np.sqrt(1 + b**2 + (1 - b) ** 2)


def _chord(x: np.ndarray, y: np.ndarray, lag: int) -> np.ndarray:
    return np.abs(_bent(x, y, lag))


def local_noise(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Standard deviation of the noise around each point, (n,), from the distance to the chord of its neighbours.

    e_i = y_i - (a y_{i-1} + b y_{i+1}) has variance sigma² (1 + a² + b²) and does not see smooth change. Where most
    neighbours are the same, as of counts, the median sees nothing: there it is the root mean square of all.
    """
    residual = _chord(x, y, 1)
    window = min(31, 2 * (len(residual) // 2) - 1)
    sigma = 1.4826 * running_median(residual, max(window, 3))
    size = float(np.max(residual))  # in units of which nothing under- or overflows
    if size > 0:
        sigma[sigma < 1e-6 * size] = size * float(np.sqrt(np.mean((residual / size) ** 2)))
    return np.concatenate([sigma[:1], sigma, sigma[-1:]])


def grain(y: np.ndarray) -> float:
    """The unit to which values (n,) were rounded: the least distance between two of them; of two or three levels, which
    say nothing of it, that of their last decimal, up to the fourth. 0 of counts, which are exact."""
    levels = np.unique(y)
    if not np.any(levels != np.round(levels)):
        return 0.0
    if len(levels) > 3:
        return float(np.min(np.diff(levels)))
    scaled = np.outer(10.0 ** np.arange(1, 5), levels)
    whole = (np.abs(scaled - np.round(scaled)) < 1e-7 * np.maximum(np.abs(scaled), 1.0)).all(axis=1)
    return float(10.0 ** -(1 + int(np.argmax(whole)))) if whole.any() else 0.0


def roughness(x: np.ndarray, y: np.ndarray, *, reach: float = 1.0) -> float:
    """Standard deviation of what is no smooth course, at whichever lag there is most of it: of smoothed noise as well.

    Half of the points decide: a change that takes fewer of them than that does not count. reach: the share of the curve
    that a chord may span.
    """
    lags = [lag for lag in LAGS if lag == 1 or 2 * lag < reach * len(x)]
    return 1.4826 * max(float(np.median(_chord(x, y, lag))) for lag in lags)


def shared_noise(x: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """Correlation, without its sign, of the noise of two curves on the checkpoints x; 0 where it may be chance.

    By how often both leave the chord of their neighbours to the same side (the quadrant correlation: Blomqvist 1950,
    Ann. Math. Stat. 21:593), so that a change of both, which is large at a few points, says little.
    """
    found = [0.0]
    for lag in LAGS:  # what is slow in the noise is shared more, or less, than what is not
        if 2 * lag < len(x):
            agreed = abs(float(np.mean(np.sign(_bent(x, one, lag)) * np.sign(_bent(x, other, lag)))))
            if agreed > CHANCE * np.sqrt(lag / len(x)):
                found.append(agreed)
    return float(np.sin(np.pi / 2 * max(found)))


def inflation(x: np.ndarray, y: np.ndarray, sigma: np.ndarray) -> float:
    """A first guess of the noise's variance × autocorrelation time over sigma², from chords of lag 1, 2 and 3.

    Noise of lag-one correlation rho has a chord of lag l of variance ∝ 3/2 - 2 rho^l + rho^(2 l) / 2: their ratios
    give rho. What sigma already assumes beyond the local noise (a floor, a standard error) counts against it.
    """
    if len(x) < 30:  # too few chords to tell
        return 1.0
    sizes = [float(np.median(_chord(x, y, lag)) / np.median(sigma)) for lag in (1, 2, 3)]
    if min(sizes) <= 0:
        return 1.0
    variance, time = _lasting(sizes, MOST_CORRELATED)
    return float(np.clip((1.4826 * sizes[0]) ** 2 * variance * time, 1.0, LARGEST_GUESS))


def lasting(y: np.ndarray) -> tuple[float, float]:
    """Variance of the noise of many rows (n,) over that which chords of lag 1 show, and its autocorrelation time."""
    rows = np.arange(len(y), dtype=float)
    sizes = [float(np.median(_chord(rows, y, lag))) for lag in (1, 2, 3)]
    return _lasting(sizes, LONGEST_CORRELATED) if min(sizes) > 0 else (1.0, 1.0)


def _lasting(sizes: list[float], most: float) -> tuple[float, float]:
    """From the sizes of the chords of lag 1, 2 and 3, with a correlation of `most` at most."""
    rho = np.arange(0.0, most, 0.01)
    chord = [1.5 - 2 * rho**lag + 0.5 * rho ** (2 * lag) for lag in (1, 2, 3)]
    misfit = sum(np.abs(np.log(chord[0] / chord[k]) - 2 * np.log(sizes[0] / sizes[k])) for k in (1, 2))
    best = int(np.argmin(misfit))
    return float(1.5 / chord[0][best]), float((1 + rho[best]) / (1 - rho[best]))
