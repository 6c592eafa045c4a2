"""Curves with a planted change on a slow background, for the tests of this folder."""

from __future__ import annotations

import numpy as np
import xarray as xr

STEPS = np.unique(np.round(np.geomspace(1, 10_000, 220)).astype(int))
X = np.log10(STEPS)
BACKGROUNDS = {
    "flat": np.zeros_like(X),
    "power": 1.5 * (1 + STEPS / 20.0) ** -0.7,
    "stretched": 1.5 * np.exp(-((STEPS / 300.0) ** 0.5)),
}


def sigmoid(midpoint: float, width: float, steps: np.ndarray = STEPS) -> np.ndarray:
    return 1 / (1 + np.exp(-2 * np.log(9) * (np.log10(steps) - np.log10(midpoint)) / width))


def ramp(midpoint: float, width: float) -> np.ndarray:
    return np.clip(0.5 + 0.8 * (X - np.log10(midpoint)) / width, 0, 1)


def jump(midpoint: float) -> np.ndarray:
    return (midpoint < STEPS).astype(float)


def kink(midpoint: float) -> np.ndarray:
    """Slope 0, then 1 unit a decade."""
    return np.maximum(X - np.log10(midpoint), 0)


def run(steps: np.ndarray = STEPS, **curves: np.ndarray) -> xr.Dataset:
    """A Dataset of scalar curves, or (step, column) for arrays of two dimensions."""
    dims = {1: ("step",), 2: ("step", "feature")}
    return xr.Dataset({name: (dims[np.ndim(y)], y) for name, y in curves.items()}, coords={"step": steps})
