import pytest
import torch

from devi.errors import DeviError
from devi.sampling.kernels import KERNELS, Kernel, State, kernel_named, psgld, sgld

SETTINGS = {"step_size": 0.01, "n_beta": 7.0, "localization": 3.0}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_zero_noise_and_zero_gradient_leave_the_chain_exactly_where_it_is(kernel):
    start = normal(3, 2, 5)
    state = kernel.init(start)
    for _ in range(10):
        state = kernel.step(state, torch.zeros_like(start), start, torch.zeros_like(start), **SETTINGS)
    assert torch.equal(state.position, start)


def test_a_step_size_of_0_leaves_the_chain_exactly_where_it_is():
    start = normal(4, 5)
    state = sgld.step(
        sgld.init(start), normal(4, 5, seed=1), 0 * start, normal(4, 5, seed=2), **{**SETTINGS, "step_size": 0.0}
    )
    assert torch.equal(state.position, start)


def test_zero_noise_is_gradient_descent():
    w, gradient, center = normal(4, 5).double(), normal(4, 5, seed=1).double(), normal(4, 5, seed=2).double()
    found = sgld.step(State(w), gradient, center, 0 * w, **SETTINGS).position
    torch.testing.assert_close(found, w - 0.005 * (7 * gradient + 3 * (w - center)), rtol=0, atol=1e-15)


def test_a_step_is_the_formula_over_any_leading_axes_and_settings_per_replica():
    w, gradient, center, noise = (normal(3, 2, 5, seed=seed).double() for seed in range(4))
    step_size = torch.rand(3, 2, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    found = sgld.step(State(w), gradient, center, noise, step_size=step_size, n_beta=7.0, localization=3.0).position
    expected = w - step_size / 2 * (7 * gradient + 3 * (w - center)) + step_size.sqrt() * noise
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


def test_a_step_changes_none_of_its_arguments():
    tensors = [normal(2, 5, seed=seed) for seed in range(4)]
    copies = [tensor.clone() for tensor in tensors]
    for kernel in KERNELS.values():
        kernel.step(kernel.init(tensors[0]), tensors[1], tensors[2], tensors[3], **SETTINGS)
        assert all(torch.equal(a, b) for a, b in zip(tensors, copies, strict=True))


def test_a_step_of_sgld_is_devinterps_given_the_same_noise():
    from devinterp.optim.sgld import SGLD

    center, moved, gradient = normal(5), normal(5, seed=1), normal(5, seed=2)
    parameter = torch.nn.Parameter(center.clone())
    with pytest.warns(DeprecationWarning, match="SGLD"):
        peer = SGLD([parameter], lr=0.01, nbeta=7.0, localization=3.0)
    parameter.data.copy_(moved)
    parameter.grad = gradient.clone()
    peer.step(noise_generator=torch.Generator().manual_seed(9))
    ours = sgld.step(State(moved), gradient, center, normal(5, seed=9), **SETTINGS).position
    torch.testing.assert_close(ours, parameter.data, rtol=0, atol=5e-7)


def test_psgld_with_a_memory_that_equals_the_squared_gradient_is_sgld_scaled_by_its_root():
    w, gradient, center, noise = (normal(2, 5, seed=seed).double() for seed in range(4))
    state = State(w, gradient.square())
    found = psgld.step(state, gradient, center, noise, **SETTINGS).position
    scale = 1 / (gradient.abs() + 1e-5)
    expected = w - 0.005 * scale * (7 * gradient + 3 * (w - center)) + (0.01 * scale).sqrt() * noise
    torch.testing.assert_close(found, expected)


def test_a_kernel_of_ones_own_is_taken_as_it_is():
    own = Kernel(sgld.init, sgld.step, "mine")
    assert kernel_named(own) is own


def test_an_unknown_sampler_is_named_with_the_nearest_known_one():
    with pytest.raises(DeviError, match=r"no sampler is called 'sgdl'\. Did you mean 'sgld'\? Known: psgld, sgld\."):
        kernel_named("sgdl")
