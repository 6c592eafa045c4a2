"""Put a measured table between its two markers in benchmarks/README.md or another page, with machine and date."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy
import torch

README = Path(__file__).with_name("README.md")


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
