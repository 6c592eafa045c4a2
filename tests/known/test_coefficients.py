import itertools
from fractions import Fraction

import pytest

from devi.errors import DeviError
from devi.known.coefficients import Coefficient, deep_linear, reduced_rank, two_layer_at
from devi.known.rank_zero import two_layer_expectation

TWO_LAYERS = [(m, h, n, r) for m, h, n in itertools.product(range(1, 9), repeat=3) for r in range(min(m, h, n) + 1)]


def test_the_three_formulas_agree_on_every_two_layer_case_up_to_width_8():
    assert len(TWO_LAYERS) == 1808
    for m, h, n, r in TWO_LAYERS:
        expected = reduced_rank(m, h, n, r)
        assert deep_linear((m, h, n), r) == expected
        assert two_layer_at(m, h, n, rank_first=r, rank_second=r, rank_product=r) == expected


def test_a_network_that_is_full_of_rank_is_regular():
    """Rank H: the maps of rank H are a manifold of dimension H(M + N − H), and half of that is λ."""
    for m, h, n in itertools.product(range(1, 9), repeat=3):
        if h <= min(m, n):
            assert reduced_rank(m, h, n, h) == (Fraction(h * (m + n - h), 2), 1)
            assert deep_linear((m, h, h, n), h) == (Fraction(h * (m + n - h), 2), 1)


def test_one_unit_a_layer_is_a_normal_crossing_with_the_layers_as_multiplicity():
    for layers in range(1, 6):
        assert deep_linear((1,) * (layers + 1), 0) == Coefficient(Fraction(1, 2), layers)


def test_a_layer_that_is_wide_enough_changes_nothing():
    """Aoyagi 2024: layers outside Σ do not count."""
    for rank in range(3):
        assert deep_linear((3, 2, 3), rank).value == deep_linear((3, 2, 40, 3), rank).value


@pytest.mark.parametrize(
    ("widths", "rank", "value", "multiplicity"),
    [((6, 3, 5), 3, 12, 1), ((6, 4, 6), 2, Fraction(27, 2), 1), ((5, 5, 5, 5), 2, 11, 1), ((4, 4, 4), 1, 7, 2)],
)
def test_values_worked_out_by_hand(widths, rank, value, multiplicity):
    assert deep_linear(widths, rank) == (value, multiplicity)


@pytest.mark.parametrize("widths", [(3, 2, 3), (2, 2, 2), (3, 1, 4), (1, 5, 1), (2, 5, 2), (2, 2, 5), (4, 1, 1)])
def test_the_exact_integral_reaches_lambda_as_n_beta_grows(widths):
    coefficient = reduced_rank(*widths, 0)
    assert coefficient.multiplicity == 1
    assert two_layer_expectation(*widths, 1e14, 1.0) == pytest.approx(float(coefficient.value), rel=1e-3)


@pytest.mark.parametrize("widths", [(1, 1, 1), (3, 1, 3), (2, 1, 2)])
def test_with_multiplicity_2_the_exact_integral_falls_short_by_1_over_log_n_beta(widths):
    """log Z = −λ·log nβ + (m − 1)·log(log nβ + c), so that 1/(λ − E) = log nβ + c grows by log 10 a decade."""
    coefficient = reduced_rank(*widths, 0)
    assert coefficient.multiplicity == 2
    gap = [1 / (float(coefficient.value) - two_layer_expectation(*widths, n_beta, 1.0)) for n_beta in (1e13, 1e14)]
    assert gap[1] - gap[0] == pytest.approx(2.302585, rel=1e-3)


def test_extra_rank_in_one_layer_lowers_lambda_or_leaves_it():
    for m, h, n, r in TWO_LAYERS:
        most_singular = reduced_rank(m, h, n, r).value
        for first in range(r, min(m, h) + 1):
            at = two_layer_at(m, h, n, rank_first=first, rank_second=r, rank_product=r)
            assert at.value >= most_singular


def test_ranks_that_no_matrices_have_are_refused():
    with pytest.raises(DeviError, match="no two matrices 4×6 of rank 4 and 6×4 of rank 3 have a product of rank 2"):
        two_layer_at(6, 4, 6, rank_first=4, rank_second=3, rank_product=2)
    with pytest.raises(DeviError, match="widths 3-2-3 with rank 3: expected"):
        deep_linear((3, 2, 3), 3)
