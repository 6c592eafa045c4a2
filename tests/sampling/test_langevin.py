import pytest
import torch

from devi.errors import DeviError
from devi.known.monomials import Monomials
from devi.sampling.kernels import Kernel, State, Target
from devi.sampling.langevin import RMSPROP_STABILITY, psgld, sgld
from devi.sampling.sample import sample
from devi.sampling.samplers import KERNELS, kernel_named


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fixed(gradient):
    """A potential whose gradient is the same everywhere."""
    return lambda position: (torch.zeros(position.shape[:-1], dtype=torch.float64), gradient)


def stepped(kernel, position, gradient, center, noise, *, step_size=0.01, memory=None):
    state = State(position, None, gradient, torch.as_tensor(step_size, dtype=torch.float64), memory)
    return kernel.step(state, fixed(gradient), Target(center, 7.0, 3.0), noise, 0.0).position


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_zero_noise_and_zero_gradient_leave_the_chain_exactly_where_it_is(kernel):
    start = normal(3, 2, 5)
    still = fixed(torch.zeros_like(start))
    state = kernel.init(start, still, torch.full((3, 2, 1), 0.01))
    for _ in range(10):
        noise = torch.zeros(3, 2, 5 + kernel.extra_normals)
        state = kernel.step(state, still, Target(start, 7.0, 3.0), noise, 0.5)
    assert torch.equal(state.position, start)


def test_a_step_size_of_0_leaves_the_chain_exactly_where_it_is():
    start = normal(4, 5)
    found = stepped(sgld, start, normal(4, 5, seed=1), 0 * start, normal(4, 5, seed=2), step_size=0.0)
    assert torch.equal(found, start)


def test_zero_noise_is_gradient_descent():
    w, gradient, center = normal(4, 5).double(), normal(4, 5, seed=1).double(), normal(4, 5, seed=2).double()
    found = stepped(sgld, w, gradient, center, 0 * w)
    torch.testing.assert_close(found, w - 0.005 * (7 * gradient + 3 * (w - center)), rtol=0, atol=1e-14)


def test_a_step_is_the_formula_over_any_leading_axes_and_settings_per_replica():
    w, gradient, center, noise = (normal(3, 2, 5, seed=seed).double() for seed in range(4))
    step_size = torch.rand(3, 2, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    found = stepped(sgld, w, gradient, center, noise, step_size=step_size)
    expected = w - step_size / 2 * (7 * gradient + 3 * (w - center)) + step_size.sqrt() * noise
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_a_step_changes_none_of_its_arguments(kernel):
    position, gradient, center = (normal(2, 5, seed=seed) for seed in range(3))
    noise = normal(2, 5 + kernel.extra_normals, seed=3)
    copies = [tensor.clone() for tensor in (position, gradient, center, noise)]
    state = kernel.init(position, fixed(gradient), torch.full((2, 1), 0.01))
    kernel.step(state, fixed(gradient), Target(center, 7.0, 3.0), noise, 0.5)
    assert all(torch.equal(a, b) for a, b in zip((position, gradient, center, noise), copies, strict=True))


def test_psgld_with_a_memory_that_equals_the_squared_gradient_is_sgld_scaled_by_its_root():
    w, gradient, center, noise = (normal(2, 5, seed=seed).double() for seed in range(4))
    found = stepped(psgld, w, gradient, center, noise, memory=gradient.square())
    scale = 1 / (gradient.abs() + RMSPROP_STABILITY)
    expected = w - 0.005 * scale * (7 * gradient + 3 * (w - center)) + (0.01 * scale).sqrt() * noise
    torch.testing.assert_close(found, expected)


def test_a_kernel_of_ones_own_is_taken_as_it_is():
    own = Kernel(sgld.init, sgld.step, "mine")
    assert kernel_named(own) is own


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda state: None, r"kernel mine: step returned a NoneType; expected a devi.sampling.kernels.State with"),
        (lambda state: state.position, "step returned a Tensor; expected"),
        (lambda state: state._replace(position=state.position[:, :1]), r"step returned position \(\d+, 1\) and excess"),
        (lambda state: state._replace(excess=state.excess[:, None]), r"excess \(\d+, 1\); expected .* excess \(\d+,\)"),
    ],
)
def test_what_a_kernel_of_ones_own_returns_in_place_of_a_state_is_told(made, said):
    own = Kernel(sgld.init, lambda state, *others: made(sgld.step(state, *others)), "mine")
    settings = {"n_beta": 10.0, "localization": 1.0, "step_size": 1e-3, "batch_size": 0, "burn_in": 0}
    with pytest.raises(DeviError, match=said):
        sample(Monomials((2, 2)).run(), kernel=own, chains=2, draws=4, **settings)
