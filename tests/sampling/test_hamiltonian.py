import math
from statistics import NormalDist

import pytest
import torch

from devi.sampling.hamiltonian import hmc, mala, with_length, with_step_at_last
from devi.sampling.kernels import Target


def quadratic(curvatures):
    """L = ½Σ h_i w_i²."""
    h = torch.tensor(curvatures, dtype=torch.float64)
    return lambda w: (0.5 * (h * w * w).sum(-1), h * w)


def start(kernel, potential, position, step_size):
    return kernel.init(position, potential, torch.full((*position.shape[:-1], 1), step_size, dtype=position.dtype))


def mala_speed(acceptance):
    """How fast mala moves at an acceptance a = 2Φ(−Kℓ³/2), in units of the best: a·ℓ² (Roberts & Rosenthal 1998)."""
    return acceptance * (-NormalDist().inv_cdf(acceptance / 2)) ** (2 / 3)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_short_trajectory_keeps_the_energy_to_third_order_of_its_step():
    """Leapfrog's energy error falls as ε² for a given length: a tenth of the step, a hundredth of the error."""
    potential, position = quadratic([1.0, 4.0, 9.0]), normal(1, 3)
    target = Target(torch.zeros(1, 3, dtype=torch.float64), 1.0, 0.5)
    errors = []
    for step_size, length in ((0.1, 10), (0.01, 100)):
        kernel = with_length(hmc, length)
        state = start(kernel, potential, position, step_size)
        noise = torch.cat([normal(1, 3, seed=1), torch.full((1, 2), 100.0, dtype=torch.float64)], dim=1)  # take all
        moved = kernel.step(state, potential, target, noise, 0.9999)
        errors.append(-math.log(float(moved.memory.acceptance)) if float(moved.memory.acceptance) < 1 else 0.0)
        assert not torch.equal(moved.position, position)
    assert errors[1] <= errors[0] / 50 + 1e-12


def test_mala_is_one_langevin_proposal():
    """w + ε·p − (ε²/2)·∇U with unit widths: sgld's move with step size ε²."""
    potential, position, noise = quadratic([1.0, 4.0]), normal(3, 2), normal(3, 4, seed=1)
    noise[:, 2:] = 100.0  # accept whatever it is
    target = Target(torch.zeros(3, 2, dtype=torch.float64), 7.0, 3.0)
    found = mala.step(start(mala, potential, position, 0.1), potential, target, noise, 0.7).position
    force = 7 * potential(position)[1] + 3 * position
    torch.testing.assert_close(found, position - 0.005 * force + 0.1 * noise[:, :2])


def test_what_gains_energy_beyond_reason_or_leaves_the_numbers_is_refused():
    position, target = normal(2, 2), Target(torch.zeros(2, 2, dtype=torch.float64), 1.0, 1.0)
    for curvature in (1e12, math.inf):
        state = start(hmc, quadratic([1.0, 1.0]), position, 1.0)
        moved = hmc.step(state, quadratic([curvature, 1.0]), target, normal(2, 4, seed=1), 0.5)
        assert torch.equal(moved.position, position)
        assert torch.equal(moved.memory.acceptance, torch.zeros(2, 1, dtype=torch.float64))


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [hmc, mala], ids=["hmc", "mala"])
def test_the_draws_have_the_variances_of_the_target_and_the_burn_in_finds_widths_and_acceptance(kernel):
    """20 variances of 300 chains over 150 draws: false alarms at 5 errors about 1 in 100,000."""
    curvatures = torch.logspace(-2, 2, 20).double()
    potential, chains = quadratic(curvatures.tolist()), 300
    target = Target(torch.zeros(chains, 20, dtype=torch.float64), 10.0, 0.3)
    state = start(kernel, potential, target.center.clone(), 0.5)
    generator = torch.Generator().manual_seed(0)
    seen, acceptance = [], []
    for number in range(750):
        noise = torch.randn(chains, 22, dtype=torch.float64, generator=generator)
        state = kernel.step(state, potential, target, noise, float(torch.rand((), generator=generator)))
        if number < 600:
            state = kernel.adapt(state, (number + 1) / 600)
        else:
            seen.append(state.position)
            acceptance.append(state.memory.acceptance)
    variances = torch.stack(seen).square().mean(0)  # (chain, parameter)
    expected = 1 / (10 * curvatures + 0.3)
    error = variances.std(0) / math.sqrt(chains)
    assert ((variances.mean(0) - expected).abs() < 5 * error).all()
    assert (error < 0.06 * expected).all()
    found = float(torch.stack(acceptance).mean())
    if kernel is hmc:
        assert found == pytest.approx(0.8, abs=0.08)
    else:  # each chain tunes by itself, noisily, which leaves it above 0.574
        assert mala_speed(found) > 0.95 * mala_speed(0.574)
    widths = state.memory.widths / expected.sqrt()
    assert 0.5 < float(widths.median()) < 1.5


def test_a_step_size_that_was_given_is_taken_once_the_widths_are_learnt():
    potential, position = quadratic([200.0, 200.0]), torch.zeros(4, 2)
    kernel, target = with_step_at_last(hmc, 0.5), Target(0 * position, 1.0, 1.0)
    state = start(kernel, potential, position, 0.5)  # seven times the width: nothing is accepted
    for number in range(100):
        state = kernel.step(state, potential, target, normal(4, 4, seed=number), 0.3)
        state = kernel.adapt(state, (number + 1) / 100)
    assert torch.equal(state.step_size, torch.full((4, 1), 0.5, dtype=torch.float64))
    assert 0.5 < float(state.memory.widths.median()) * 201**0.5 < 1.5


@pytest.mark.parametrize("burn_in", [1, 2, 3])
def test_a_step_size_that_was_given_is_taken_after_the_shortest_burn_in_too(burn_in):
    potential, position = quadratic([1.0, 1.0]), normal(4, 2)
    kernel, target = with_step_at_last(hmc, 0.123), Target(0 * position, 1.0, 1.0)
    state = start(kernel, potential, position, 0.123)
    for number in range(burn_in):
        state = kernel.step(state, potential, target, normal(4, 4, seed=number), 0.3)
        state = kernel.adapt(state, (number + 1) / burn_in)
    assert torch.equal(state.step_size, torch.full((4, 1), 0.123, dtype=torch.float64))
