"""Columns of W as points in a plane, and the spectra of the embedding: what the geometry charts draw."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

FEATURE_LIMIT = 20


class Plane(NamedTuple):
    """points (step, feature, 2); features: which are shown; note: how the plane was chosen, empty for hidden = 2.

    axes  what is along x and y: hidden directions, or singular ones that mix them
    """

    points: np.ndarray
    features: list[int]
    note: str
    reach: float
    axes: tuple[str, str]


def plane(trajectories: xr.Dataset) -> Plane | None:
    """The columns of W (step, hidden, feature) in the plane; for more than 2 hidden dimensions, projected.

    The projection is fixed for the whole run, so that points move only when the weights do: the two leading left
    singular vectors of the last checkpoint's W.
    """
    columns = trajectories.get("feature_direction")
    if columns is None or columns.ndim != 3 or not np.isfinite(columns.values).any():
        return None
    values = columns.transpose("step", "hidden", "feature").values.astype(float)
    hidden, count = values.shape[1:]
    note, axes = "", ("hidden direction 1", "hidden direction 2")
    if hidden == 1:
        axes = axes[0], ""
        points = np.stack([values[:, 0], np.zeros_like(values[:, 0])], axis=-1)
        note = "One hidden dimension: all points lie on a line."
    elif hidden == 2:
        points = np.moveaxis(values, 1, 2)
    else:
        finite = np.flatnonzero(np.isfinite(values).all(axis=(1, 2)))
        last = values[finite[-1]] if len(finite) else np.zeros((hidden, count))
        basis, singular, _ = np.linalg.svd(last, full_matrices=False)
        total = float((singular**2).sum())
        share = float((singular[:2] ** 2).sum()) / total if total else 0.0
        points = np.einsum("thf,hk->tfk", values, basis[:, :2])
        axes = "singular direction 1", "singular direction 2"
        note = (
            f"{hidden} hidden dimensions, projected onto the two leading singular directions of the last checkpoint,"
            f" which hold {share:.0%} of its squared weights."
        )
    size = np.nanmax(np.where(np.isfinite(points), np.hypot(points[..., :1], points[..., 1:]), 0.0), axis=(0, 2))
    features = sorted(np.argsort(-size, kind="stable")[:FEATURE_LIMIT].tolist())
    if len(features) < count:
        note = f"{note} The {len(features)} features of largest norm, of {count}.".strip()
    return Plane(points[:, features], features, note, float(size.max() or 1.0) * 1.15, axes)


def snapshots(steps: np.ndarray, ends: list[float], limit: int = 4) -> list[int]:
    """Checkpoints worth a picture: the first after the end of each transition, and the last of all."""
    after = [int(np.flatnonzero(steps >= end)[0]) for end in ends if (steps >= end).any()]
    chosen = sorted({*after, len(steps) - 1})
    if len(chosen) == 1 and len(steps) > 3:
        chosen = sorted({len(steps) // 3, 2 * len(steps) // 3, len(steps) - 1})
    if len(chosen) > limit:
        chosen = [chosen[round(place)] for place in np.linspace(0, len(chosen) - 1, limit)]
    return chosen


def key_frequencies(trajectories: xr.Dataset) -> list[int]:
    """The key frequencies, from wherever the metric put them: a list in attrs, values, or a 0/1 mask by frequency."""
    variable = trajectories.get("key_frequencies")
    if variable is None:
        stored = trajectories.attrs.get("key_frequencies", [])
        return sorted(int(k) for k in np.atleast_1d(stored))
    values = variable.values
    if "step" in variable.dims:
        values = variable.isel(step=-1).values
    if "frequency" in variable.dims and (values.dtype == bool or set(np.unique(values)) <= {0, 1}):
        labels = variable["frequency"].values if "frequency" in variable.coords else np.arange(len(values))
        return [int(k) for k, is_key in zip(labels, values, strict=True) if is_key]
    values = np.atleast_1d(values).astype(float).ravel()
    return sorted({int(k) for k in values if np.isfinite(k) and k > 0})


def frequencies(spectrum: xr.DataArray) -> np.ndarray:
    """The frequency of each column; 0-based columns without a coordinate are their own names."""
    return (
        spectrum["frequency"].values if "frequency" in spectrum.coords else np.arange(spectrum.sizes[spectrum.dims[1]])
    )


def step_edges(positions: np.ndarray, *, log: bool) -> np.ndarray:
    """Edges (step + 1,) of heat-map cells: halfway between checkpoints, on the axis's own scale."""
    x = np.log(positions) if log else np.asarray(positions, dtype=float)
    if len(x) == 1:
        edges = np.array([x[0] - 0.5, x[0] + 0.5])
    else:
        middle = (x[1:] + x[:-1]) / 2
        edges = np.concatenate([[2 * x[0] - middle[0]], middle, [2 * x[-1] - middle[-1]]])
    return np.exp(edges) if log else edges
