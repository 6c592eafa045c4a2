"""Grid: what depends on the checkpoints only, the library of nulls and the atoms that a search starts from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from devi.transitions.fit import Component, longest_spike
from devi.transitions.nulls import Library, relaxations

WIDTHS = (0.05, 0.1, 0.18, 0.3, 0.5, 0.75, 0.95)  # decades
RAMP_WIDTHS = (0.3, 0.5, 0.75)  # a narrower ramp is as good as a sigmoid
SHARP = 0.05  # decades: the bend of a kink
SLOW = 0.5  # decades: a bend so slow is no kink; it stands in a fit in its place and is dropped in the end


@dataclass(frozen=True)
class Grid:
    """kinds (K): of these, `atoms` (K, n) are the columns on a curve's checkpoints; library: its nulls."""

    library: Library
    atoms: np.ndarray
    kinds: tuple[Component, ...]
    shapes: np.ndarray  # (K,) the names of the kinds' shapes

    @cached_property
    def squares(self) -> np.ndarray:
        return self.atoms**2


@lru_cache(maxsize=32)
def kinds_of(raw: bytes) -> tuple[Component, ...]:
    """Sigmoids, jumps, spikes and kinks that the checkpoints x (as bytes) can tell apart."""
    x = np.frombuffer(raw)
    kinds: list[Component] = []
    for width in WIDTHS:
        kinds += [Component("sigmoid", float(c), width) for c in np.arange(x[0], x[-1], max(width / 2.5, 0.02))]
    for width in RAMP_WIDTHS:
        kinds += [Component("ramp", float(c), width) for c in np.arange(x[0], x[-1], width / 5)]
    # Jumps between any two checkpoints, two points at least on either side.
    for i in range(2, len(x) - 1):
        kinds.append(Component("sigmoid", float(x[i] + x[i - 1]) / 2, 0.5 * float(x[i] - x[i - 1])))
    for i in range(1, len(x) - 1):
        gap = float(x[i + 1] - x[i])
        sizes = [k * gap for k in (0.5, 2.0, 5.0) if k < 1 or k * gap <= longest_spike(x, float(x[i]))]
        kinds += [Component("spike", float(x[i]), size) for size in sizes]
    kinds += [Component("kink", float(c), SHARP) for c in np.arange(x[0] + 0.1, x[-1] - 0.1, 0.05)]
    seen = np.array([np.sum((x > k.centre - 0.8 * k.width) & (x < k.centre + 0.8 * k.width)) for k in kinds])
    keep = [k.shape in ("spike", "kink") or k.width < 0.06 or n > 0 for k, n in zip(kinds, seen, strict=True)]
    return tuple(kind for kind, good in zip(kinds, keep, strict=True) if good)


@lru_cache(maxsize=32)
def grid_of(raw: bytes, every: bytes) -> Grid:
    """The grid of a curve with checkpoints `raw` (as bytes) among curves whose longest has checkpoints `every`."""
    x, kinds = np.frombuffer(raw), kinds_of(every)
    atoms = np.stack([kind.column(x) for kind in kinds])
    return Grid(relaxations(x), atoms, kinds, np.array([kind.shape for kind in kinds]))
