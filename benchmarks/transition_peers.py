"""What other programs say where a run changed, for benchmarks/transitions.py: midpoints in optimizer steps.

Each method sees the run as a matrix (point, metric): 200 points evenly spaced in log10(step), by linear interpolation,
each metric divided by its standard deviation. Each has one number to tune; it is chosen to give the best F1, null runs
counted, on the first of the cases with which devi's confidence was fitted.

ruptures    KernelCPD with linear and rbf kernels, BottomUp (l2): Truong, Oudre, Vayatis 2020; tuned: the penalty
HMM         hmmlearn's GaussianHMM, diagonal covariances, 1 to 5 states by BIC; a change of the Viterbi state; tuned:
            what the criterion asks for a state
CUSUM       two-sided (Page 1954) on each metric's standardized differences from a running mean; tuned: the threshold
slope       local maxima of the smoothed |slope| of any metric, in ranges per decade; tuned: the threshold
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

POINTS = 200
CLOSE = 0.1  # decades: alarms of several metrics nearer than this are one
DRIFT = 0.5  # of CUSUM, in standard deviations

Method = Callable[[np.ndarray, np.ndarray, float], list[float]]  # x (point,), matrix, setting -> log10 of midpoints


def midpoints(method: Method, trajectories: xr.Dataset, setting: float) -> list[float]:
    """Optimizer steps at which `method` sees a change."""
    raw = np.log10(trajectories["step"].values)
    x = np.linspace(raw[0], raw[-1], POINTS)
    columns = [np.interp(x, raw, trajectories[name].values) for name in trajectories.data_vars]
    matrix = np.stack([(y - y.mean()) / max(y.std(), 1e-12) for y in columns], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [float(10**at) for at in method(x, matrix, setting)]


def _borders(x: np.ndarray, ends: list[int]) -> list[float]:
    return [float((x[i - 1] + x[i]) / 2) for i in ends if 0 < i < len(x)]


def kernel_linear(x: np.ndarray, matrix: np.ndarray, penalty: float) -> list[float]:
    import ruptures

    return _borders(x, ruptures.KernelCPD(kernel="linear", min_size=3).fit(matrix).predict(pen=penalty))


def kernel_rbf(x: np.ndarray, matrix: np.ndarray, penalty: float) -> list[float]:
    import ruptures

    return _borders(x, ruptures.KernelCPD(kernel="rbf", min_size=3).fit(matrix).predict(pen=penalty))


def bottom_up(x: np.ndarray, matrix: np.ndarray, penalty: float) -> list[float]:
    import ruptures

    return _borders(x, ruptures.BottomUp(model="l2", min_size=3, jump=1).fit(matrix).predict(pen=penalty))


def hidden_markov(x: np.ndarray, matrix: np.ndarray, price: float) -> list[float]:
    fits = _hidden_markov_fits(matrix.tobytes(), matrix.shape)
    states = min(fits, key=lambda fit: -2 * fit[0] + price * fit[1] * np.log(len(x)))[2]
    return _borders(x, list(np.flatnonzero(np.diff(states)) + 1))


@cache
def _hidden_markov_fits(raw: bytes, shape: tuple[int, int]) -> list[tuple[float, int, np.ndarray]]:
    """(log likelihood, parameters, states) for 1 to 5 states."""
    from hmmlearn.hmm import GaussianHMM

    matrix = np.frombuffer(raw).reshape(shape)
    fits = []
    for count in range(1, 6):
        model = GaussianHMM(count, covariance_type="diag", n_iter=30, random_state=0, min_covar=1e-3)
        try:
            model.fit(matrix)
            fits.append((model.score(matrix), count * (count - 1) + 2 * count * shape[1], model.predict(matrix)))
        except ValueError:  # a state that no point is in
            continue
    return fits


def cusum(x: np.ndarray, matrix: np.ndarray, threshold: float) -> list[float]:
    alarms = []
    for y in matrix.T:
        noise = 1.4826 * np.median(np.abs(np.diff(y))) / np.sqrt(2) + 1e-3
        high = low = 0.0
        level, seen, since = y[0], 1, 0
        for i in range(1, len(y)):
            z = (y[i] - level) / noise
            high, low = max(0.0, high + z - DRIFT), max(0.0, low - z - DRIFT)
            if high == 0 and low == 0:
                since = i
            if max(high, low) > threshold:
                alarms.append(float((x[since] + x[i]) / 2))
                high = low = 0.0
                level, seen, since = y[i], 1, i
            else:
                seen += 1
                level += (y[i] - level) / seen
    return _merged(alarms)


def slope(x: np.ndarray, matrix: np.ndarray, threshold: float) -> list[float]:
    gap = x[1] - x[0]
    speed = np.abs(gaussian_filter1d(matrix, 0.06 / gap, axis=0, order=1)) / gap
    steepest = (speed / np.ptp(matrix, axis=0)).max(axis=1)
    peaks, _ = find_peaks(np.concatenate([[0], steepest, [0]]), height=threshold, distance=max(int(CLOSE / gap), 1))
    return [float(x[i - 1]) for i in peaks]


def _merged(alarms: list[float]) -> list[float]:
    groups: list[list[float]] = []
    for at in sorted(alarms):
        if groups and at - groups[-1][-1] < CLOSE:
            groups[-1].append(at)
        else:
            groups.append([at])
    return [float(np.median(group)) for group in groups]


METHODS: dict[str, tuple[Method, np.ndarray]] = {
    "ruptures KernelCPD linear": (kernel_linear, np.geomspace(3, 300, 13)),
    "ruptures KernelCPD rbf": (kernel_rbf, np.geomspace(1, 60, 13)),
    "ruptures BottomUp": (bottom_up, np.geomspace(3, 300, 13)),
    "Gaussian HMM": (hidden_markov, np.geomspace(0.5, 32, 7)),
    "CUSUM": (cusum, np.geomspace(10, 10000, 13)),
    "largest slope": (slope, np.geomspace(0.5, 12, 13)),
}
