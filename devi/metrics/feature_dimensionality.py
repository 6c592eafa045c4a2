"""How many of the hidden dimensions each feature of a toy model of superposition has to itself.

    ‖W_i‖   D_i = ‖W_i‖² / Σ_j (Ŵ_i·W_j)²   interference_i = Σ_{j≠i} (Ŵ_i·W_j)²   D* = m / ‖W‖_F²

W (hidden, feature), W_i its column i, Ŵ_i = W_i/‖W_i‖, m the hidden dimensions.
Source: Elhage et al. 2022, transformer-circuits.pub/2022/toy_model, section "The Geometry of Superposition".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import xarray as xr
from pydantic import Field

from devi.errors import DeviError
from devi.metrics.metric import Metric, labels
from devi.metrics.polygon import polygon

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run

DRAWN_NUMBERS = 4096  # a checkpoint: larger geometries are not drawn, so not stored
CHUNK_NUMBERS = 4 * 2**20  # of the Gram matrices (step, feature, feature) held at once
# A smaller change is none: a feature that is represented has norm 1; polygons differ by 0.07 in dimensionality.
MATERIAL = 0.1


@dataclass(frozen=True)
class FeatureDimensionality(Metric):
    """A column shorter than `minimum_norm` points in a random direction: its D_i and interference are NaN.

    feature_norm, feature_dimensionality, interference     (step, feature)
    dimensions_per_feature   (step,)  D*; NaN while no feature is represented (it is 10⁵ at a small init)
    features_represented     (step,)  columns of at least `minimum_norm`
    polygon, polygon_angle_spread, polygon_length_spread  (step,)  if hidden = 2, see devi.metrics.polygon
    feature_direction        (step, hidden, feature)  W itself, up to 4096 numbers a checkpoint
    """

    parameter: str = "W"  # (hidden, feature)
    bias: str = "b"  # (feature,); a model without it is fine
    minimum_norm: Annotated[float, Field(ge=0)] = 0.3
    polygon_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.15

    name: ClassVar[str] = "feature_dimensionality"
    long_name: ClassVar[str] = "norm, dimensionality and interference of the features in superposition"
    source: ClassVar[str] = "Elhage et al. 2022, transformer-circuits.pub/2022/toy_model, The Geometry of Superposition"
    gives: ClassVar[tuple[str, ...]] = (
        "feature_norm", "feature_dimensionality", "interference", "dimensions_per_feature", "features_represented",
        "polygon", "polygon_angle_spread", "polygon_length_spread", "feature_direction",
    )  # fmt: skip

    def over(self, run: Run) -> xr.Dataset:
        parameters = run.parameters(slice(0, len(run)))
        weights = self._weights(parameters, run).astype(np.float64)  # (step, hidden, feature)
        _, hidden, features = weights.shape
        norm = np.linalg.norm(weights, axis=1)  # (step, feature)
        count = max(1, CHUNK_NUMBERS // features**2)
        overlaps = np.concatenate(  # Σ_j (W_i·W_j)², (step, feature)
            [_overlaps(weights[start : start + count]) for start in range(0, len(weights), count)]
        )
        represented = norm >= max(self.minimum_norm, np.finfo(float).tiny)
        square = np.where(represented, norm**2, np.nan)
        dimensionality = square**2 / overlaps
        interference = overlaps / square - square
        some = represented.any(1)
        total = np.where(some, (norm**2).sum(1), np.nan)
        per = ("step", "feature")
        gate = {"gate": f"feature_norm >= {self.minimum_norm}"}
        data = {
            "feature_norm": (per, norm, labels("1", "norm of a feature's direction", self.source, material=MATERIAL)),
            "feature_dimensionality": (
                per,
                dimensionality,
                labels("1", "dimensionality of a feature", self.source, material=MATERIAL / 2) | gate,
            ),
            # Rounding of a difference of squares must not make it negative.
            "interference": (
                per,
                np.maximum(interference, 0),
                labels("1", "interference on a feature", self.source, material=MATERIAL) | gate,
            ),
            "dimensions_per_feature": (
                "step",
                hidden / total,
                labels("1", "dimensions per feature", self.source, material=MATERIAL / 2),
            ),
            "features_represented": (
                "step",
                represented.sum(1).astype(float),
                labels("1", f"features of norm {self.minimum_norm} or more", self.source),
            ),
        }
        if hidden == 2:
            data |= self._polygons(weights, parameters.get(self.bias))
        if hidden * features <= DRAWN_NUMBERS:
            attributes = labels("1", "directions of the features (W)", self.source, detect=False)
            data["feature_direction"] = (("step", "hidden", "feature"), weights, attributes)
        return xr.Dataset(data, coords={"step": run.steps, "feature": np.arange(features), "hidden": np.arange(hidden)})

    def _polygons(self, weights: np.ndarray, bias: np.ndarray | None) -> dict:
        shapes = [
            polygon(
                columns,
                None if bias is None else bias[row],
                minimum_norm=self.minimum_norm,
                tolerance=self.polygon_tolerance,
            )
            for row, columns in enumerate(weights)
        ]
        source = "Chen et al. 2023, arXiv:2310.06301 (k-gons)"
        label = np.array([shape.label for shape in shapes], dtype="<U16")
        angle = np.array([shape.angle_spread for shape in shapes])
        length = np.array([shape.length_spread for shape in shapes])
        return {
            "polygon": ("step", label, labels("1", "polygon that the features form", source, detect=False)),
            "polygon_angle_spread": (
                "step", angle, labels("1", "largest deviation from the polygon's angle, relative", source, detect=False)
            ),
            "polygon_length_spread": (
                "step", length, labels("1", "spread of the polygon's lengths, relative", source, detect=False)
            ),
        }  # fmt: skip

    def _weights(self, parameters: dict[str, np.ndarray], run: Run) -> np.ndarray:
        found = parameters.get(self.parameter)
        if found is None or found.ndim != 3:
            shapes = ", ".join(f"{name} {values.shape[1:]}" for name, values in parameters.items())
            problem = "has no parameter" if found is None else f"has shape {found.shape[1:]} for"
            raise DeviError(
                f"feature_dimensionality: the model of {type(run.task).__name__} {problem} '{self.parameter}'; expected"
                f" a matrix (hidden, feature) of that name. It has: {shapes}. Name the right one with the setting"
                f" 'parameter', or leave the metric out."
            )
        return found


def _overlaps(weights: np.ndarray) -> np.ndarray:
    """Σ_j (W_i·W_j)², (step, feature), of weights (step, hidden, feature)."""
    gram = np.swapaxes(weights, 1, 2) @ weights
    return np.einsum("tij,tij->ti", gram, gram)
