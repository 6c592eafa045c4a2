"""Lottery-ticket masks by magnitude, and how much they change over training.

    mask(t) = the kept fraction κ of largest |w(t)|        overlap(A, B) = |A ∩ B| / |A ∪ B|  (Jaccard)

Two independent masks overlap by about κ/(2 − κ): by the mean of x/(2k − x) where x, of the k kept of n weights, is
hypergeometric. The overlap with the final mask reaches 1 by construction,
and the one with the previous mask depends on the spacing of checkpoints: neither is a detector.
Source: Frankle & Carbin 2019, arXiv:1803.03635; over training: Minegishi et al. 2023, arXiv:2310.19470.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple, Self

import numpy as np
import xarray as xr
from pydantic import Field

from devi.errors import DeviError, Unsuitable
from devi.metrics.metric import Metric, labels

if TYPE_CHECKING:
    from devi.checkpoints.reader import Run

EXACT = 10_000  # weights: with more, κ/(2 − κ) is the mean to 4 digits
MASKED_DIMENSIONS = 2  # weight matrices and larger; biases and gains are not pruned (Frankle & Carbin 2019)


class Mask(NamedTuple):
    """Kept weights of one checkpoint; parameters of fewer than two dimensions, or of size 0, are not in it."""

    together: np.ndarray  # (weight,) bool, the κ largest of all weights, parameters one after another
    each: dict[str, np.ndarray]  # parameter -> (weight,) bool, the κ largest within that parameter


@dataclass(frozen=True)
class Tickets(Metric):
    """Masks over all weight matrices together, and within each (`layer_…`). Rows of unpruned parameters are NaN.

    ticket_overlap_previous        (step,)            with the mask one checkpoint before; NaN at the first
    ticket_overlap_final           (step,)            with the mask of the run's last checkpoint
    ticket_overlap_chance          (step,)            what independent masks have in the mean
    layer_ticket_overlap_previous, layer_ticket_overlap_final   (step, parameter)
    ticket_density                 (step, parameter)  kept share of each parameter when κ of all weights are kept
    ticket_masks                   (step, byte)       with keep_masks: the global mask, bit-packed, first weight first
    """

    kept_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.4
    keep_masks: bool = False
    final_step: int | None = None  # None: the run's last checkpoint

    name: ClassVar[str] = "tickets"
    long_name: ClassVar[str] = "lottery-ticket masks: overlap between checkpoints, and density per parameter"
    source: ClassVar[str] = "Minegishi et al. 2023, arXiv:2310.19470; masks: Frankle & Carbin 2019, arXiv:1803.03635"
    gives: ClassVar[tuple[str, ...]] = (
        "ticket_overlap_previous", "ticket_overlap_final", "ticket_overlap_chance", "layer_ticket_overlap_previous",
        "layer_ticket_overlap_final", "ticket_density", "ticket_masks",
    )  # fmt: skip

    def resolved(self, run: Run) -> Self:
        if self.final_step is not None:
            return self
        return dataclasses.replace(self, final_step=int(run.whole.steps[-1]))

    def over(self, run: Run) -> xr.Dataset:
        final = self._mask(run.whole.parameters(self._final_place(run)))
        previous = self._mask(run.whole.parameters(run.start - 1)) if run.start > 0 else None
        parameters = run.parameters(slice(0, len(run)))
        names = list(parameters)
        global_overlap = np.full((2, len(run)), np.nan)  # previous, final
        layer_overlap = np.full((2, len(run), len(names)), np.nan)
        density = np.full((len(run), len(names)), np.nan)
        packed = []
        for row in range(len(run)):
            mask = self._mask({name: values[row] for name, values in parameters.items()})
            for which, other in enumerate((previous, final)):
                if other is not None and mask is not None:
                    global_overlap[which, row] = overlap(mask.together, other.together)
                    for name, kept in mask.each.items():
                        layer_overlap[which, row, names.index(name)] = overlap(kept, other.each[name])
            if mask is not None:
                ends = np.cumsum([len(kept) for kept in mask.each.values()])[:-1]
                for name, part in zip(mask.each, np.split(mask.together, ends), strict=True):
                    density[row, names.index(name)] = part.mean()
            previous = mask
            if self.keep_masks:
                size = sum(values[0].size for values in parameters.values() if is_masked(values.shape[1:]))
                packed.append(np.packbits(mask.together if mask is not None else np.zeros(size, bool)))
        shape, layer = f"κ = {self.kept_fraction}", ("step", "parameter")
        sizes = [values[0].size if is_masked(values.shape[1:]) else 0 for values in parameters.values()]
        chance, of_layers = self._chance(sum(sizes)), [self._chance(size) for size in sizes]

        def words(text: str, *, chance: float | list[float] = chance) -> dict:
            return labels("1", f"{text}, {shape}", self.source, detect=False) | {"chance": chance}

        data = {
            "ticket_overlap_previous": ("step", global_overlap[0], words("overlap with the previous mask")),
            "ticket_overlap_final": ("step", global_overlap[1], words("overlap with the final mask")),
            "ticket_overlap_chance": ("step", np.full(len(run), chance), words("overlap of independent masks")),
            "layer_ticket_overlap_previous": (
                layer,
                layer_overlap[0],
                words("overlap with the previous mask, by layer", chance=of_layers),
            ),
            "layer_ticket_overlap_final": (
                layer,
                layer_overlap[1],
                words("overlap with the final mask, by layer", chance=of_layers),
            ),
            "ticket_density": (
                layer,
                density,
                labels("1", f"share of a parameter's weights in the mask, {shape}", self.source),
            ),
        }
        if self.keep_masks:
            shapes = {n: v.shape[1:] for n, v in parameters.items() if is_masked(v.shape[1:])}
            attributes = labels("1", f"bit-packed mask, {shape}", self.source, detect=False)
            data["ticket_masks"] = (("step", "byte"), np.stack(packed), attributes | {"shapes": json.dumps(shapes)})
        return xr.Dataset(data, coords={"step": run.steps, "parameter": names})

    def _chance(self, count: int) -> float:
        return chance_overlap(count, kept_of(count, self.kept_fraction)) if count else float("nan")

    def _final_place(self, run: Run) -> int:
        steps = run.whole.steps
        if self.final_step is None:
            return len(steps) - 1
        place = int(np.searchsorted(steps, self.final_step))
        if place == len(steps) or steps[place] != self.final_step:
            near = int(steps[np.abs(steps - self.final_step).argmin()])
            raise DeviError(
                f"tickets: final_step={self.final_step} is not a checkpoint of this run; the nearest is {near}."
                f" Use final_step={near}, or leave it out for the last one ({int(steps[-1])})."
            )
        return place

    def _mask(self, parameters: Mapping[str, np.ndarray]) -> Mask | None:
        """The masks of one checkpoint; None if a weight is not finite."""
        sizes = {n: np.abs(v, dtype=np.float64).ravel() for n, v in parameters.items() if is_masked(v.shape)}
        if not sizes:
            raise Unsuitable(
                f"tickets: this model has no parameter of two or more dimensions to mask; it has"
                f" {', '.join(f'{name} {tuple(values.shape)}' for name, values in parameters.items())}."
            )
        together = np.concatenate(list(sizes.values()))
        if not np.isfinite(together).all():
            return None
        return Mask(
            largest(together, self.kept_fraction),
            {name: largest(size, self.kept_fraction) for name, size in sizes.items()},
        )


def is_masked(shape: tuple[int, ...]) -> bool:
    """Whether a parameter of that shape has weights that a mask may drop."""
    return len(shape) >= MASKED_DIMENSIONS and 0 not in shape


def kept_of(count: int, kept: float) -> int:
    """How many of so many weights a mask keeps: round(kept · n), at least one."""
    return max(1, round(kept * count))


def largest(sizes: np.ndarray, kept: float) -> np.ndarray:
    """Mask (weight,) of the round(kept · n) largest of sizes (weight,), at least one; of equals, the first ones."""
    count = kept_of(len(sizes), kept)
    threshold = np.partition(sizes, len(sizes) - count)[len(sizes) - count]
    mask = sizes > threshold
    mask[np.flatnonzero(sizes == threshold)[: count - int(mask.sum())]] = True
    return mask


def chance_overlap(count: int, kept: int) -> float:
    """Mean overlap of two independent masks that each keep `kept` of `count` weights."""
    if count > EXACT:
        return kept / (2 * count - kept)
    from scipy.stats import hypergeom

    shared = np.arange(max(0, 2 * kept - count), kept + 1)
    return float(hypergeom(count, kept, kept).pmf(shared) @ (shared / (2 * kept - shared)))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """|A ∩ B| / |A ∪ B| of two masks (weight,)."""
    return float((one & other).sum() / (one | other).sum())
