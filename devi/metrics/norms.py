"""Size of the weights, and how far they moved.

weight_norm(t) = √(Σ_i |w_i(t)|²)        distance_moved(t_j) = √(Σ_i |w_i(t_j) − w_i(t_{j−1})|²)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import xarray as xr

from devi.metrics.metric import Metric, labels

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run

DISTANCE = "Euclidean distance between neighbouring checkpoints"


@dataclass(frozen=True)
class Norms(Metric):
    """Euclidean norms over all parameters, biases included, in float64.

    weight_norm          (step,)            of all parameters together
    weight_norm_squared  (step,)            its square, the "sum of squared weights" of the grokking papers
    layer_norms          (step, parameter)  of each parameter
    distance_moved       (step,)            since the previous checkpoint of the whole run; NaN at the first
    distance_per_step    (step,)            the same over the optimizer steps between the two checkpoints
    """

    name: ClassVar[str] = "norms"
    long_name: ClassVar[str] = "norms of the parameters, and the distance moved"
    source: ClassVar[str] = "sum of squared weights: Nanda et al. 2023, arXiv:2301.05217, section 5"
    gives: ClassVar[tuple[str, ...]] = (
        "weight_norm", "weight_norm_squared", "layer_norms", "distance_moved", "distance_per_step",
    )  # fmt: skip
    units_of: ClassVar[Mapping[str, str]] = {"distance_per_step": "1/step"}

    def over(self, run: Run) -> xr.Dataset:
        parameters = run.parameters(slice(0, len(run)))
        before = run.whole.parameters(run.start - 1) if run.start > 0 else None
        squares = np.stack([_squares(values) for values in parameters.values()], axis=1)  # (step, parameter)
        moved = np.zeros(len(run))
        for name, values in parameters.items():
            first = values[:1] if before is None else before[name][None]
            moved += _squares(np.diff(_exact(np.concatenate([first, values])), axis=0))
        distance = np.sqrt(moved)
        if before is None:
            distance[0] = np.nan
        earlier = run.whole.steps[run.start - 1 : run.start] if before is not None else run.steps[:1]
        spacing = np.diff(np.concatenate([earlier, run.steps])).astype(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            pace = np.where(spacing > 0, distance / spacing, np.nan)
        source = self.source
        return xr.Dataset(
            {
                "weight_norm": ("step", np.sqrt(squares.sum(1)), labels("1", "norm of all weights", source)),
                "weight_norm_squared": (
                    "step", squares.sum(1), labels("1", "sum of squared weights", source, detect=False)
                ),
                # Parts of the norm above: searching each would multiply the chances of a false alarm.
                "layer_norms": (
                    ("step", "parameter"), np.sqrt(squares), labels("1", "norm of a parameter", source, detect=False)
                ),
                # Both depend on how densely checkpoints were saved, so that a change of spacing looks like a change.
                "distance_moved": (
                    "step", distance, labels("1", "distance since the previous checkpoint", DISTANCE, detect=False)
                ),
                "distance_per_step": (
                    "step", pace, labels("1/step", "distance moved per step", DISTANCE, detect=False)
                ),
            },
            coords={"step": run.steps, "parameter": list(parameters)},
        )  # fmt: skip


def _squares(values: np.ndarray) -> np.ndarray:
    """Σ over everything but the first axis of |values|², (step,)."""
    flat = np.ascontiguousarray(_exact(values.reshape(len(values), -1)))
    real = flat.view(np.float64)  # of complex numbers both parts
    return np.einsum("ti,ti->t", real, real)


def _exact(values: np.ndarray) -> np.ndarray:
    return values.astype(np.complex128 if np.iscomplexobj(values) else np.float64)
