"""Styles: none comes twice among as many curves as a chart may have."""

from devi.report.palette import CYCLE, DASHES, style


def test_no_two_of_the_first_28_curves_look_alike():
    looks = {(style(index).colour, style(index).dash) for index in range(28)}
    assert len(looks) == 28 == len(CYCLE) * len(DASHES)
