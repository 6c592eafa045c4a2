import math

import numpy as np
import pytest

from devi.known.cusp import cusp_expectation


def brute(n_beta, localization):
    """The same by the trapezoid rule on a fine grid of x and y, with the half cell that x = 0 is the edge of."""
    x, y = np.linspace(0, 8, 8001)[:, None], np.linspace(-3, 8, 5501)[None, :]
    energy = 0.5 * n_beta * (x**2 - y**3) ** 2
    weight = np.exp(-energy - localization / 2 * (x**2 + y**2))
    weight[0] /= 2
    return (energy * weight).sum() / weight.sum()


@pytest.mark.parametrize(("n_beta", "localization"), [(10.0, 1.0), (145.0, 1.0), (145.0, 4.0)])
def test_it_is_the_integral_on_a_fine_grid(n_beta, localization):
    assert cusp_expectation(n_beta, localization) == pytest.approx(brute(n_beta, localization), rel=1e-4)


def test_it_does_not_depend_on_the_number_of_nodes(monkeypatch):
    coarse = [cusp_expectation(n_beta, pull) for n_beta, pull in ((145.0, 1.0), (1e7, 16.0))]
    monkeypatch.setattr("devi.known.cusp.NODES", 700)
    assert [cusp_expectation(n_beta, pull) for n_beta, pull in ((145.0, 1.0), (1e7, 16.0))] == pytest.approx(
        coarse, rel=1e-10
    )


def test_it_creeps_up_to_5_twelfths():
    found = [cusp_expectation(10.0**power, 1.0) for power in range(2, 13, 2)]
    assert found == sorted(found)
    assert 0.41 < found[-1] < 5 / 12


def test_the_weighted_scaling_of_x_and_y_leaves_it_alone_where_the_pull_is_weak():
    """L(a³x, a²y) = a¹²·L(x, y): without a pull nβ does not matter."""
    first, second = (cusp_expectation(n_beta, 1e-12 * math.sqrt(n_beta)) for n_beta in (1e4, 1e5))
    assert first == pytest.approx(second, rel=5e-3)
