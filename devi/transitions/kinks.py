"""Kinks found two at a time: greed takes first the one between them that half explains both, and keeps it."""

from __future__ import annotations

import numpy as np

from devi.transitions.bundle import Bundle
from devi.transitions.fit import Component
from devi.transitions.nulls import null_price

SEEN = 1e-3  # chi² of a kink of amplitude 1, below which the checkpoints do not see it beside a null
ALIKE = 1e-4  # of chi², the share of a kink beside another below which these checkpoints cannot tell them apart
LIKELY = 32  # nulls, the best beside one kink, beside which two are tried
NEITHER, FIRST, SECOND, BOTH = range(4)


def best_pair(bundle: Bundle) -> tuple[list[Component], list[frozenset[int]]]:
    """The two kinks that save most beside nulls of at most one term, with the curves that each of them moves.

    Empty lists if no two of them pay for their dates.
    """
    grid, every = bundle.grids[0], range(len(bundle.curves))
    places = np.flatnonzero(grid.shapes == "kink")
    if len(places) < 2:
        return [], []
    costs = np.stack([_costs(bundle, m, places) for m in every])  # (curve, which of them move, first, second)
    saved = np.triu((costs[:, NEITHER] - costs.min(axis=1)).sum(axis=0), 1)
    first, second = np.unravel_index(np.argmax(saved), saved.shape)
    moving = costs[:, :, first, second].argmin(axis=1)
    members = [frozenset(m for m in every if moving[m] in (own, BOTH)) for own in (FIRST, SECOND)]
    if saved[first, second] < 2 * bundle.shared_price or not all(members):
        return [], []
    return [grid.kinds[places[first]], grid.kinds[places[second]]], members


def _costs(bundle: Bundle, m: int, places: np.ndarray) -> np.ndarray:
    """What curve m costs with neither of two kinks, the first, the second and both, (4, K, K), see `curve_cost`.

    Of the kinks at `places` (K,) of the grid; each time beside the best null of one term or none.
    """
    curve, price, count = bundle.curves[m], bundle.price(m), len(places)
    kinks, weight, search = bundle.grids[m].atoms[places], bundle.weights[m], bundle.searches[m]
    rows = np.concatenate([kinks * weight, search.rows, search.y[None]])
    constant = weight / np.linalg.norm(weight)
    rows -= np.outer(rows @ constant, constant)
    inner = rows @ rows.T
    gram = inner[:count, :count] + np.diag((np.ptp(kinks, axis=1) / curve.reach) ** 2)  # the prior of what a kink adds
    onto, plain = inner[:count, -1], float(inner[-1, -1])
    nulls = np.flatnonzero(inner.diagonal()[count:-1] > SEEN * len(curve.x))
    beside = inner[count + nulls, :count] / np.sqrt(inner.diagonal()[count + nulls, None])  # (null, K)
    along = inner[count + nulls, -1] / np.sqrt(inner.diagonal()[count + nulls])
    # With no null first.
    beside, along = np.vstack([np.zeros(count), beside]), np.concatenate([[0.0], along])
    paid = plain - along**2 + price * np.array([0, *(null_price((null,)) for null in nulls.tolist())])
    scale = 1 / np.sqrt(np.maximum(gram.diagonal() - beside**2, SEEN))
    shown = (onto - along[:, None] * beside) * scale  # what each kink saves is the square, (1 + null, K)
    alone = (paid[:, None] + price - shown**2).min(axis=0)
    both = np.full(gram.shape, np.inf)
    for null in np.argsort((paid[:, None] - shown**2).min(axis=1))[:LIKELY]:
        alike = gram - np.outer(beside[null], beside[null])
        alike *= np.outer(scale[null], scale[null])
        # Of two: (s_i² + s_j² - 2 c_ij s_i s_j) / (1 - c_ij²), s what each alone shows, c how alike they are.
        saved = np.add.outer(shown[null] ** 2, shown[null] ** 2)
        saved -= alike * np.outer(2 * shown[null], shown[null])
        saved /= np.maximum(1 - alike**2, ALIKE)
        np.minimum(both, paid[null] + 2 * price - saved, out=both)
    alone = np.broadcast_to(alone, both.shape)
    return np.stack([np.full_like(both, paid.min()), alone.T, alone, both])
