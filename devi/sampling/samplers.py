"""Samplers: the kernels by name."""

from __future__ import annotations

from devi.errors import DeviError, unknown_name
from devi.sampling.hamiltonian import hmc, mala, with_length, with_step_at_last
from devi.sampling.kernels import Kernel
from devi.sampling.langevin import psgld, sgld
from devi.sampling.settings import GIVEN, Settings

# The steps of sgld, which pilots take; the chains themselves are walked by `devi.sampling.devinterp_walk`.
devinterp = sgld._replace(name="devinterp")
KERNELS: dict[str, Kernel] = {kernel.name: kernel for kernel in (sgld, psgld, mala, hmc, devinterp)}


def kernel_named(kernel: str | Kernel) -> Kernel:
    """The kernel that `kernel` names, or the kernel itself."""
    if isinstance(kernel, Kernel):
        return kernel
    if not isinstance(kernel, str):
        raise DeviError(
            f"the sampler is of class {type(kernel).__name__}; expected one of {', '.join(KERNELS)}, or a Kernel:"
            " devi.sampling.kernels.Kernel(init, step)."
        )
    if kernel not in KERNELS:
        raise unknown_name("sampler", kernel, KERNELS)
    return KERNELS[kernel]


def prepared(kernel: Kernel, settings: Settings) -> Kernel:
    """The kernel with trajectories as long as the settings say, and with the step size at last if it was given."""
    kernel = with_length(kernel, settings.leapfrog_steps)
    return with_step_at_last(kernel, settings.step_size) if settings.reasons.get("step_size") == GIVEN else kernel
