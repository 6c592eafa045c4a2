from __future__ import annotations

import numpy as np

from devi.report.selection import isolated, most_varying


def test_the_columns_that_vary_most_are_drawn_after_those_that_come_first():
    values = np.zeros((3, 30))
    values[1] = np.arange(30)
    assert most_varying(values, 2) == [28, 29]
    assert most_varying(values, 3, first=[4, 9]) == [4, 9, 29]
    assert most_varying(values, 2, first=[4, 9, 7]) == [7, 9]
    values[:, 6:] = np.nan
    assert most_varying(values, 8, first=[9]) == [*range(6)]


def test_of_columns_that_vary_alike_some_from_everywhere_are_drawn():
    values = np.zeros((3, 301))
    values[1] = 1.0
    assert most_varying(values, 4) == [0, 100, 200, 300]
    values[2, 150] = 7.0
    assert 150 in most_varying(values, 4)


def test_a_value_between_two_gaps_is_isolated():
    gap = np.nan
    assert isolated(np.array([1.0, gap, 2.0, gap, 3.0, 4.0, gap, np.inf])).tolist() == [1, 0, 1, 0, 0, 0, 0, 0]
    assert isolated(np.array([1.0])).tolist() == [True]
    assert isolated(np.array([])).tolist() == []
