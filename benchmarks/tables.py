"""Put a measured table between its two markers in benchmarks/README.md or another page, with machine and date."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy
import torch

README = Path(__file__).with_name("README.md")


def seeded_options(about: str, *, runs: int, seed: int) -> argparse.Namespace:
    """--runs, --seed and --write of a script that measures generated cases; these are the defaults."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=runs, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=seed, help="of the first one")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    return parser.parse_args()


def machine() -> str:
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, torch {torch.__version__},"
        f" numpy {numpy.__version__}"
    )


def put_table(
    name: str,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    note: str = "",
    page: Path = README,
    *,
    is_measured: bool = True,
) -> None:
    """is_measured: the machine and the date stand before the note"""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    lines = [
        note if not is_measured else f"Measured {datetime.date.today()} on {machine()}. {note}".rstrip(),
        "",
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows),
    ]
    text = page.read_text()
    if begin not in text:
        text += f"\n{begin}\n{end}\n"
    before, rest = text.split(begin, 1)
    page.write_text(before + begin + "\n" + "\n".join(lines) + "\n" + end + rest.split(end, 1)[1])


def rows_of(name: str, page: Path = README) -> list[list[str]]:
    """The rows of a table that is there already, as text; none if it is not."""
    return [list(row.values()) for row in read_table(name, page).rows]


class Table(NamedTuple):
    """What stands in a page: the line above a table, and its rows as {column: cell}."""

    note: str
    rows: list[dict[str, str]]


def read_table(name: str, page: Path = README) -> Table:
    """A table that is there already; an empty one if it is not."""
    text = page.read_text().partition(f"<!-- begin {name} -->")[2].partition(f"<!-- end {name} -->")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]  # the rule begins otherwise
    cells = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines]
    return Table(text.strip().partition("\n")[0], [dict(zip(cells[0], row, strict=True)) for row in cells[1:]])
