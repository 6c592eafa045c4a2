"""Locales: tables written where the comma is the decimal point and ';' stands between cells.

Whether 1,072 is a thousand or little more than one, the cell does not say: other cells of the file do, 0,5 or 1,25, or
nobody, and then it is no number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from devi.errors import shown
from devi.tables.cells import DECIMAL_COMMA, THOUSANDS, number_of

POINTED = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?$")  # 1.072 and 1.072,5


def with_decimal_points(rows: Sequence[Sequence[str]]) -> tuple[list[list[str]], dict[int, str]]:
    """The rows with points in place of decimal commas, and why some columns (by their place) hold no numbers.

    Where commas stand between thousands, or may do so, they stay: such cells are no numbers.
    """
    plain = [list(row) for row in rows]
    cells = [cell.strip() for row in rows for cell in row]
    commas = [cell for cell in cells if DECIMAL_COMMA.match(cell) or THOUSANDS.match(cell)]
    points = [cell for cell in cells if "." in cell and number_of(cell) is not None]
    if not any(map(_is_decimal, commas)) or any(cell.count(",") > 1 or "." in cell for cell in commas):
        return plain, {}
    if not all(map(POINTED.match, points)):
        return plain, {}
    reasons: dict[int, str] = {}
    for number, row in enumerate(rows, start=1):
        for place, cell in enumerate(row):
            if POINTED.match(text := cell.strip()):
                written = text.replace(".", "").replace(",", ".")
                reasons.setdefault(
                    place,
                    f"row {number} holds '{shown(text)}', where points may stand between thousands beside decimal"
                    f" commas: write {written}, without them",
                )
    return [[cell.replace(",", ".") for cell in row] for row in rows], reasons


def _is_decimal(cell: str) -> bool:
    """Whether its comma can be no mark between thousands: 0,125 and 1,25."""
    return bool(DECIMAL_COMMA.match(cell)) and (not THOUSANDS.match(cell) or cell.lstrip("+-").startswith("0"))
