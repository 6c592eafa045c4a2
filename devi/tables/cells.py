"""Columns of numbers from the rows of a text file, and why a column is none."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from devi.errors import DeviError, shown

MISSING = {"", "nan", "null", "none", "na", "n/a", "-"}  # what programs write where they measured nothing
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?$")
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?$", re.IGNORECASE)
TRUTH = {"true": 1.0, "false": 0.0}

Column = np.ndarray | str  # values (row,) or (row, column), NaN where missing; or why it holds no numbers


def number_of(cell: Any) -> float | None:
    """The cell as a number, NaN if it is empty, None if it is something else."""
    if cell is None:
        return float("nan")
    if isinstance(cell, bool | int | float):
        try:
            return float(cell)
        except OverflowError:  # an integer of hundreds of digits
            return math.inf if cell > 0 else -math.inf
    if not isinstance(cell, str):
        return None
    text = cell.strip().lower()
    if text in MISSING:
        return float("nan")
    try:
        return TRUTH[text] if text in TRUTH else float(text)
    except ValueError:
        return None


def column_of(cells: Sequence[Any]) -> Column:
    """(row,) from numbers, (row, column) from lists of one length; a reason for anything else. Rows count from 1."""
    try:  # most columns hold nothing else, and a million cells take seconds one by one
        return np.array([float(cell) for cell in cells])
    except (TypeError, ValueError, OverflowError):
        pass
    lists = [cell for cell in cells if isinstance(cell, list)]
    if lists:
        if any(isinstance(one, list) for cell in lists for one in cell):
            return "its lists hold lists, not numbers"
        lengths = {len(cell) for cell in lists}
        if len(lengths) > 1:
            return f"its lists have different lengths ({', '.join(map(str, sorted(lengths)))})"
        width = lengths.pop()
        rows = [cell if isinstance(cell, list) else [cell] * width for cell in cells]
        parts = [column_of([row[j] for row in rows]) for j in range(width)]
        reasons = [part for part in parts if isinstance(part, str)]
        if reasons or not parts:
            return reasons[0] if reasons else "its lists are empty"
        return np.stack([part for part in parts if not isinstance(part, str)], axis=1)
    values = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        value = number_of(cell)
        if value is None:
            return f"row {row + 1} holds '{shown(cell)}', not a number{_remedy(cells, row)}"
        values[row] = value
    return values


def _remedy(cells: Sequence[Any], row: int) -> str:
    """What to do about the cell that is no number; nothing of a column of words."""
    text = str(cells[row]).strip()
    if THOUSANDS.match(text):
        other = f"; or {text.replace(',', '.')}, if it is the decimal point" if text.count(",") == 1 else ""
        return f": write {text.replace(',', '')}, without commas between thousands{other if '.' not in text else ''}"
    if DECIMAL_COMMA.match(text):
        return f": write {text.replace(',', '.')}, with a decimal point"
    if text.endswith("%") and number_of(text[:-1]) is not None:
        return f": write {text[:-1].strip()}, without the sign"
    numbers = sum(number_of(cell) is not None and str(cell).strip().lower() not in MISSING for cell in cells)
    return ": correct that cell, or leave it empty" if 2 * numbers > len(cells) else ""


def columns_of_records(records: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    """One column a name, in the order in which names appear; a record that lacks a name leaves a gap there."""
    flat = [flattened(record) for record in records]
    names = dict.fromkeys(name for record in flat for name in record)
    return {name: column_of([record.get(name) for record in flat]) for name in names}


def flattened(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"train": {"loss": 1}} becomes {"train/loss": 1}."""
    result: dict[str, Any] = {}
    for key, value in record.items():
        name = f"{prefix}{key}"
        for full, one in (flattened(value, f"{name}/") if isinstance(value, Mapping) else {name: value}).items():
            if full in result:
                raise DeviError(
                    f"a record names '{shown(full)}' twice, once as it stands and once nested; expected one value a"
                    " name. Rename one of them."
                )
            result[full] = one
    return result
