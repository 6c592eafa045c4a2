"""Written out: whether the formulas of a task's `replicas` are those of its model and loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from devi.errors import DeviError
from devi.task import Batch

if TYPE_CHECKING:
    from devi.sampling.posterior import Posterior

EXAMPLES = 8, 300  # some formulas are for many examples only


def check_replicas(posterior: Posterior, exact: Tensor, fixed: dict[str, Tensor], data: Batch) -> None:
    """Raises DeviError if `posterior.replicas` gives another loss or gradient than autograd.

    exact  (checkpoint, parameter) float64;  fixed  name -> (checkpoint, ...): what is not sampled
    Compared at the last checkpoint on a few examples and on some more, in float64.
    """
    for count in EXAMPLES:
        _check(posterior, exact[-1:], fixed, Batch(data.inputs[:count], data.targets[:count]))


def _check(posterior: Posterior, exact: Tensor, fixed: dict[str, Tensor], data: Batch) -> None:
    some = floats_as(data.to(posterior.device), torch.float64)
    others = {name: float_as(value[-1:].to(posterior.device), torch.float64) for name, value in fixed.items()}
    written, posterior.replicas = posterior.replicas, None
    try:
        posterior.model.double()
        derived = (*posterior.loss_and_gradient(exact, others, some), posterior.losses(exact, others, some))
    finally:
        with_floats_as(posterior.model, posterior.dtype)
        posterior.replicas = written
    own_values = (*posterior.loss_and_gradient(exact, others, some), posterior.losses(exact, others, some))
    for own, other in zip(own_values, derived, strict=True):
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


def with_floats_as(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model itself, its real numbers as `dtype`: `Module.to` would drop the imaginary part of complex ones."""
    return model._apply(lambda value: float_as(value, dtype))
