"""Compiling: the gradient of a group of replicas as machine code, for long jobs (`devi analyze --compile`).

What autograd does for a group is written down once as a list of tensor operations (`make_fx`), and torch compiles that
list for the group's size: operations that follow each other become one pass over memory, with no Python between them,
and threads do not wait for each other's interpreter.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from devi.errors import Notice

if TYPE_CHECKING:
    from devi.sampling.posterior import Posterior

# (flat, fixed, inputs, targets) -> (mean loss (replica,) float64, its gradient (replica, parameter))
Gradient = Callable[[Tensor, dict[str, Tensor], Tensor, Tensor], tuple[Tensor, Tensor]]
TOLERANCE = 1e-3  # of the largest entry; what is fused is rounded otherwise
_AWAY = 1e-2  # from w*, where a gradient may be nothing but rounding


def compile_gradient(posterior: Posterior, replicas: int, examples: int, *, threads: int) -> bool:
    """Compile `posterior.loss_and_gradient` for so many replicas and examples, walked with so many threads of torch.

    Whether it was done. Warns, and leaves it as it is, where it cannot be, comes to something else, or would be slower.
    """
    model = type(posterior.model).__name__
    if getattr(posterior.replicas, "outruns_compiled", False):
        warnings.warn(
            f"{type(posterior.task).__name__} writes its gradient out, which is quicker than compiled; it is sampled as"
            " without --compile.",
            Notice,
            stacklevel=2,
        )
        return False
    if not posterior.batched:
        warnings.warn(f"{model} is sampled one replica after another, and so is not compiled.", Notice, stacklevel=2)
        return False
    rows = torch.arange(replicas, device=posterior.device) % len(posterior.centers)
    flat, fixed = posterior.centers[rows], posterior.fixed_at(rows)
    flat = flat + _AWAY * torch.randn(flat.shape, generator=torch.Generator().manual_seed(0)).to(flat)
    data = posterior.minibatch(torch.arange(examples, device=posterior.device))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)  # with another number torch would compile again
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's about itself
            action = _compiled(posterior, flat, fixed, data.inputs, data.targets)
            found = action(flat, fixed, data.inputs, data.targets)
    except Exception as reason:  # whatever the model's operations, torch, or the C++ compiler object to
        words = str(reason).strip().splitlines() or [type(reason).__name__]
        warnings.warn(
            f"{model} could not be compiled ({words[0][:160]}); it is sampled as without --compile. That needs a C++"
            " compiler and Python's headers; on Debian: apt install g++ python3-dev",
            Notice,
            stacklevel=2,
        )
        return False
    finally:
        torch.set_num_threads(before)
    derived = posterior.loss_and_gradient(flat, fixed, data)
    off = max(float((own - other).abs().max() / other.abs().max()) for own, other in zip(found, derived, strict=True))
    if not off <= TOLERANCE:
        warnings.warn(
            f"{model} compiled has another loss or gradient, by {off:.1e} of the largest (expected: {TOLERANCE:g});"
            " it is sampled as without --compile.",
            Notice,
            stacklevel=2,
        )
        return False
    posterior.compiled[replicas, examples, threads] = action
    return True


def _compiled(
    posterior: Posterior, flat: Tensor, fixed: dict[str, Tensor], inputs: Tensor, targets: Tensor
) -> Gradient:
    from torch.fx.experimental.proxy_tensor import make_fx

    def gradient(flat: Tensor, fixed: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        def loss(one: Tensor, fixed: dict[str, Tensor]) -> Tensor:
            return posterior.losses_of_one(one, fixed, inputs, targets).mean(dtype=torch.float64)

        found, value = vmap(grad_and_value(loss), in_dims=(0, 0 if fixed else None))(flat, fixed)
        return value, found

    logging.getLogger("torch._inductor").setLevel(logging.ERROR)  # it tells of each operation that it calls by a detour
    # On a processor as one function of C++, which does not hold the interpreter's lock.
    options: dict[str, Any] = {"cpp_wrapper": True} if flat.device.type == "cpu" else {}
    traced = make_fx(gradient)(flat, fixed, inputs, targets)
    return torch.compile(traced, fullgraph=True, dynamic=False, options=options)
