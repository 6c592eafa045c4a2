import math

import pytest
from scipy import integrate

from devi.known.density_of_states import monomial_expectation, product_expectation


def one_dimension(power, strength, localization):
    """By adaptive quadrature, split where the weight begins to fall."""
    turn = min(strength ** (-1 / power), localization**-0.5)

    def weight(w):
        return math.exp(-strength * w**power - localization / 2 * w * w)

    def mean(function):
        parts = [(0, turn), (turn, 4 * turn), (4 * turn, 40 * turn)]
        return sum(
            integrate.quad(lambda w: function(w) * weight(w), *part, epsabs=0, epsrel=1e-12)[0] for part in parts
        )

    return mean(lambda w: strength * w**power) / mean(lambda w: 1.0)


def test_without_localization_a_monomial_has_exactly_one_over_its_power():
    for power in (2, 4, 6, 8):
        assert monomial_expectation(power, 3.0, 0.0) == 1 / power


def test_a_quadratic_has_its_closed_form():
    for strength, localization in ((0.1, 3.0), (70.0, 1.0), (1e6, 0.01)):
        expected = strength / (2 * strength + localization)
        assert monomial_expectation(2, strength, localization) == expected
        assert product_expectation((2,), strength, localization) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("power", "strength", "localization"), [(4, 70, 1), (4, 7e4, 0.1), (6, 72, 3), (8, 1e3, 1)])
def test_one_monomial_equals_adaptive_quadrature(power, strength, localization):
    expected = one_dimension(power, strength, localization)
    assert monomial_expectation(power, strength, localization) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("powers", "strength"), [((2, 4), 72.5), ((2, 2), 5.0)])
def test_a_normal_crossing_equals_two_dimensional_quadrature(powers, strength):
    a, b = powers

    def weight(x, y):
        return math.exp(-strength * x**a * y**b - (x * x + y * y) / 2)

    def energy(x, y):
        return strength * x**a * y**b * weight(x, y)

    total, mean = (integrate.dblquad(f, 0, 8, 0, 8, epsabs=0, epsrel=1e-7)[0] for f in (weight, energy))
    assert product_expectation(powers, strength, 1.0) == pytest.approx(mean / total, rel=1e-6)


def test_the_order_of_the_parameters_and_their_common_scale_change_nothing():
    assert product_expectation((2, 4), 50.0, 1.0) == pytest.approx(product_expectation((4, 2), 50.0, 1.0), rel=1e-12)
    # w → s·w: strength k·s^{Σp}, localization γ·s²
    assert product_expectation((2, 4), 50.0, 1.0) == pytest.approx(
        product_expectation((2, 4), 50.0 * 3.0**6, 9.0), rel=1e-9
    )


def test_crossings_reach_lambda_slowly_where_the_multiplicity_is_above_1():
    assert product_expectation((2, 4), 1e12, 1.0) == pytest.approx(1 / 4, rel=2e-3)
    gap = [1 / (0.5 - product_expectation((2, 2), strength, 1.0)) for strength in (1e12, 1e13)]
    assert gap[1] - gap[0] == pytest.approx(math.log(10), rel=1e-3)
