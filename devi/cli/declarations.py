"""What the options of devi detect declare: METRIC=VALUE pairs as attributes of the metrics, and interventions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from devi.errors import DeviError, unknown_name

if TYPE_CHECKING:
    from devi.tables.table import Table

DECLARED = {"se": "COLUMN", "units": "UNIT", "bounds": "LOW,HIGH", "monotone": "up or METRIC=down", "material": "SIZE"}


def interventions(texts: list[str]) -> dict[float, str]:
    """STEP:LABEL as a mapping. Raises DeviError for a step that is none."""
    result: dict[float, list[str]] = {}
    for text in texts:
        step, colon, label = text.partition(":")
        try:
            number = float(step.replace(",", ""))
        except ValueError:
            number = -1.0
        if not colon or not label.strip() or not 0 <= number < float("inf"):
            raise DeviError(f"--exogenous {text!r} is not STEP:LABEL; expected e.g. --exogenous 5000:lr/10")
        result.setdefault(int(number) if number.is_integer() else number, []).append(label.strip())
    return {step: ", ".join(labels) for step, labels in result.items()}


def pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.rpartition("=")
    if not equals or not key or not value:
        raise DeviError(f"--{option} {text!r} is no pair; expected METRIC={DECLARED[option]}.")
    return key, value


def declare(table: Table, pairs: dict[str, dict[str, str]], file: Path) -> Table:
    """The table with what the options say of its metrics as their attributes."""
    for option, value_of in (("units", _unit), ("bounds", _bounds), ("monotone", _direction), ("material", _size)):
        for metric, text in pairs[option].items():
            _variable(table, metric, file).attrs[option] = value_of(text)
    return table


def _unit(text: str) -> str:
    from devi.transitions.declared import MATERIAL, MATERIAL_SHARE

    known = (*MATERIAL, *MATERIAL_SHARE)
    if text not in known:
        raise DeviError(
            f"--units {text!r} is no unit of which it is known what is immaterial; expected {', '.join(known)}."
            " Of another, say it: --material METRIC=SIZE"
        )
    return text


def _bounds(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise DeviError(f"--bounds {text!r} is no pair of numbers that increase; expected e.g. --bounds accuracy=0,1.")
    return low, high


def _direction(text: str) -> str:
    if text not in ("up", "down"):
        raise DeviError(f"--monotone {text!r} is no direction; expected METRIC=up or METRIC=down.")
    return text


def _size(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size < float("inf"):
        raise DeviError(f"--material {text!r} is no size; expected a number of 0 or more in the metric's unit.")
    return size


def _variable(table: Table, metric: str, file: Path) -> Any:
    if table.own_name(metric) not in table.trajectories:
        raise unknown_name(f"column of {file.name}", metric, map(str, table.trajectories.data_vars))
    return table.trajectories[table.own_name(metric)]
