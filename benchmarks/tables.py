"""Put a measured table between its two markers in benchmarks/README.md or another page, with machine and date."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path

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


def put_table(
    name: str, header: Sequence[str], rows: Sequence[Sequence[object]], note: str = "", page: Path = README
) -> None:
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    lines = [
        f"Measured {datetime.date.today()} on {os.cpu_count()} cores ({platform.machine()}), Python"
        f" {platform.python_version()}, torch {torch.__version__}, numpy {numpy.__version__}. {note}".rstrip(),
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
    lines = page.read_text().partition(f"<!-- begin {name} -->")[2].partition(f"<!-- end {name} -->")[0].splitlines()
    table = [line for line in lines if line.startswith("| ")][1:]  # without its header; the rule begins otherwise
    return [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in table]
