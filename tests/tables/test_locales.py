"""What a comma or a point means is told by the whole table, or not at all: no number is read as another."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devi import DeviError
from devi.tables.locales import with_decimal_points
from devi.tables.table import read_table

VALUES = st.lists(st.floats(0, 3e6, allow_nan=False), min_size=2, max_size=12)


def read_back(tmp_path, cells):
    """The metric of a file with ';' between cells, None where it is refused."""
    path = tmp_path / "a.csv"
    path.write_text("step;reward\n" + "".join(f"{step};{cell}\n" for step, cell in enumerate(cells, start=1)))
    try:
        return read_table(path).trajectories["reward"].values.tolist()
    except DeviError:
        return None


@given(VALUES)
def test_thousands_with_commas_are_read_right_or_not_at_all(tmp_path_factory, values):
    values = [round(value) for value in values]
    found = read_back(tmp_path_factory.mktemp("t"), [f"{value:,}" for value in values])
    assert found == values if max(values) < 1000 else found is None


@given(VALUES, st.integers(0, 5))
def test_decimal_commas_are_read_right_or_not_at_all(tmp_path_factory, values, decimals):
    texts = [f"{value:.{decimals}f}" for value in values]
    found = read_back(tmp_path_factory.mktemp("t"), [text.replace(".", ",") for text in texts])
    assert found in ([float(text) for text in texts], *([None] if decimals == 3 else []))


@given(VALUES, st.integers(0, 3))
def test_points_between_thousands_beside_decimal_commas_are_never_read_as_decimal_points(values, decimals):
    german = [f"{value:,.{decimals}f}".translate(str.maketrans(",.", ".,")) for value in values]
    rows, reasons = with_decimal_points([["0,5", cell] for cell in german])
    assert [row[0] for row in rows] == ["0.5"] * len(german)
    assert (1 in reasons) == any("." in cell for cell in german)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([f"{s};{10 * s:,}" for s in range(90, 110)], "row 11 holds '1,000', .* write 1000, .* or 1.000, if"),
        ([f"{s:,};{s}" for s in range(2000, 9000, 1000)], r"the steps .* write 2000, without commas .*; or"),
        ([f"{s};{10**6 + s:,}" for s in range(9)], r"'1,000,000', not a number: write 1000000, without commas [^;]*\)"),
        ([f"{s:,};0,5".replace(",", ".", 1) for s in (1072, 2144)], r"row 1 holds '1\.072', where .* write 1072"),
        (["1;0,5;1.072,5", "2;0,4;2.144,5"], r"write 1072\.5, without them"),
    ],
)  # fmt: skip
def test_what_is_not_read_says_what_to_write(tmp_path, lines, message):
    path = tmp_path / "a.csv"
    path.write_text("\n".join([";".join(["step", "reward", "tokens"][: lines[0].count(";") + 1]), *lines, ""]))
    try:
        said = str(read_table(path).left_out)
    except DeviError as error:
        said = str(error)
    assert re.search(message, said)


def test_decimal_commas_that_are_sure_say_how_the_others_are_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("step;loss;norm\n1;0,5;1,072\n2;0,25;1,144\n")
    assert read_table(path).trajectories["norm"].values.tolist() == [1.072, 1.144]
