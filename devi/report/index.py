"""index.html: several runs on one page, what happened in each, and where its report is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from devi.report.document import records, skipped
from devi.report.page import environment
from devi.report.sentences import headline, sentence

if TYPE_CHECKING:
    from devi.analysis import Analysis


def index(entries: Iterable[tuple[Analysis, Path | str]], directory: Path) -> str:
    """The page as text; links are relative to `directory`, so that the folder can be moved or published."""
    rows = [_entry(analysis, Path(place), directory) for analysis, place in entries]
    return environment().get_template("index.html.j2").render(entries=rows)


def _entry(analysis: Analysis, place: Path, directory: Path) -> dict[str, Any]:
    found = records(analysis.transitions)
    relative = Path(os.path.relpath(place / "report.html", directory)).as_posix()
    return {
        "name": analysis.run.get("name", place.name),
        "task": analysis.run.get("task", ""),
        "seed": analysis.run.get("seed"),
        "headline": headline(analysis.trajectories, found, skipped(analysis.skipped)),
        "sentences": [sentence(analysis.trajectories, one) for one in found],
        "notices": [str(notice) for notice in analysis.notices],
        "link": quote(relative),
    }
