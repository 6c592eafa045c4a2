"""Written out: whether the formulas of a task's `replicas` are those of its model and loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from devi.errors import DeviError
from devi.task import Batch

if TYPE_CHECKING:
    from devi.sampling.posterior import Posterior

EXAMPLES = 300  # some formulas are for many examples only


def check_replicas(posterior: Posterior, exact: Tensor, fixed: dict[str, Tensor], data: Batch) -> None:
    """Raises DeviError if `posterior.replicas` gives another loss or gradient than autograd.

    exact  (checkpoint, parameter) float64;  fixed  name -> (checkpoint, ...): what is not sampled
    Compared at the last checkpoint on a some examples, in float64.
    """
    few = floats_as(Batch(data.inputs[:EXAMPLES], data.targets[:EXAMPLES]).to(posterior.device), torch.float64)
    others = {name: float_as(value[-1:].to(posterior.device), torch.float64) for name, value in fixed.items()}
    written, posterior.replicas = posterior.replicas, None
    try:
        posterior.model.double()
        derived = posterior.loss_and_gradient(exact[-1:], others, few)
    finally:
        posterior.model.to(posterior.dtype)
        posterior.replicas = written
    for own, other in zip(posterior.loss_and_gradient(exact[-1:], others, few), derived, strict=True):
        if not torch.allclose(own, other, rtol=0, atol=1e-7 * float(other.abs().max()) + 1e-12, equal_nan=True):
            raise DeviError(
                f"task {type(posterior.task).__name__}: replicas() gives another loss or gradient than model() and"
                f" loss(), by {float((own - other).abs().max()):.1e}. The same was expected, to 7 digits in float64;"
                " without a method replicas() autograd is used."
            )


def floats_as(data: Batch, dtype: torch.dtype) -> Batch:
    return Batch(float_as(data.inputs, dtype), float_as(data.targets, dtype))


def float_as(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value
