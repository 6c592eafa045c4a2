import math

import pytest

from devi.known.verdict import judged


def word(*arguments, **settings):
    return judged(*arguments, **settings).word


def test_an_estimate_that_is_exact_is_right_even_without_an_error():
    assert word(2.5, 0.0, "", truth=2.5) == "right"


def test_the_three_standard_errors_are_where_right_ends():
    assert word(2.5 + 2.99 * 0.05, 0.05, "", truth=2.5) == "right"
    too_far = judged(2.5 - 3.01 * 0.05, 0.05, "", truth=2.5)
    assert too_far == ("wrong", "off by more than 3 standard errors")


def test_a_wide_error_does_not_excuse_more_than_a_tenth():
    assert word(2.26, 1.0, "", truth=2.5) == "right"
    assert judged(2.24, 1.0, "", truth=2.5) == ("wrong", "off by more than 10%")
    assert word(2.24, 1.0, "", truth=2.5, share=0.15) == "right"


def test_the_error_is_compared_with_what_an_ideal_sampler_finds_at_the_same_settings():
    assert word(2.40, 0.01, "", truth=2.5, expected=2.405) == "right"
    assert word(2.50, 0.01, "", truth=2.5, expected=2.405) == "wrong"
    # but λ decides the tenth
    assert word(2.20, 0.01, "", truth=2.5, expected=2.20) == "wrong"


@pytest.mark.parametrize("flags", ["virial", "headroom", "rhat,unresolved"])
def test_a_flag_makes_any_estimate_flagged(flags):
    assert word(2.5, 0.01, flags, truth=2.5) == "flagged"
    assert word(-40.0, 0.01, flags, truth=2.5) == "flagged"
    assert word(math.nan, math.nan, flags, truth=2.5) == "flagged"


def test_what_is_out_of_reach_is_right_only_if_it_says_unresolved():
    for estimate in (0.35, 0.5):
        assert word(estimate, 0.01, "unresolved", truth=0.5, must_be_unresolved=True) == "right"
        assert word(estimate, 0.01, "virial,unresolved", truth=0.5, must_be_unresolved=True) == "right"
        for flags in ("", "virial"):
            found = judged(estimate, 0.01, flags, truth=0.5, must_be_unresolved=True)
            assert found == ("wrong", "must be flagged unresolved")


def test_what_is_not_a_number_is_wrong_unless_flagged():
    assert word(math.nan, 0.1, "", truth=2.5) == "wrong"
    assert word(2.5, math.nan, "", truth=2.5) == "wrong"
