"""Which polygon the columns of a 2 × n matrix form: the critical points of the toy model of superposition.

Source: Chen et al. 2023, arXiv:2310.06301 (k-gons and k⁺-gons).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

NONE = "none"
IRREGULAR = "irregular"


class Polygon(NamedTuple):
    """`label`: "none", "5-gon", "5-gon+" (a column outside the polygon has a positive bias) or "irregular".

    angle_spread: largest |gap − 2π/k| between neighbours, as a share of 2π/k.
    length_spread: (longest − shortest) / mean over the vertices. Both NaN when there is no vertex.
    """

    label: str
    vertices: int
    angle_spread: float
    length_spread: float


def polygon(columns: np.ndarray, bias: np.ndarray | None, *, minimum_norm: float, tolerance: float) -> Polygon:
    """The polygon of the columns whose norm is above half the largest.

    columns (2, feature), bias (feature,). "k-gon": all of them are corners of their convex hull and both spreads are
    at most `tolerance`; "none": no column reaches `minimum_norm`.
    """
    norms = np.linalg.norm(columns, axis=0)
    if not np.isfinite(norms).all() or norms.max() < minimum_norm:
        return Polygon(NONE, 0, math.nan, math.nan)
    long = norms > norms.max() / 2
    corners = hull(columns[:, long].T)  # (vertex, 2)
    k = len(corners)
    angles = np.sort(np.arctan2(corners[:, 1], corners[:, 0]))
    gaps = np.diff(np.append(angles, angles[0] + 2 * math.pi))
    angle_spread = float(np.abs(gaps - 2 * math.pi / k).max() / (2 * math.pi / k))
    lengths = np.linalg.norm(corners, axis=1)
    length_spread = float((lengths.max() - lengths.min()) / lengths.mean())
    is_regular = k == long.sum() and angle_spread <= tolerance and length_spread <= tolerance
    plus = "+" if bias is not None and (bias[~long] > 0).any() else ""
    return Polygon(f"{k}-gon{plus}" if is_regular else IRREGULAR, k, angle_spread, length_spread)


def hull(points: np.ndarray) -> np.ndarray:
    """Corners (corner, 2) of the convex hull of points (point, 2), by Andrew's monotone chain; one point is its own."""
    ordered = np.unique(points, axis=0)
    if len(ordered) <= 2:
        return ordered
    lower, upper = _chain(ordered), _chain(ordered[::-1])
    return np.array(lower[:-1] + upper[:-1])


def _chain(points: np.ndarray) -> list[np.ndarray]:
    chain: list[np.ndarray] = []
    for point in points:
        while len(chain) >= 2:
            (ax, ay), (bx, by) = chain[-1] - chain[-2], point - chain[-1]
            if ax * by - ay * bx > 0:  # a left turn: the last point stays a corner
                break
            chain.pop()
        chain.append(point)
    return chain
