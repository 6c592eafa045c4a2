"""index.html: all reports of a folder on one page, what happened in each run, and where its report is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import xarray as xr

from devi.errors import shown
from devi.report.document import records, skipped
from devi.report.page import environment
from devi.report.sentences import headline, health, sentence

if TYPE_CHECKING:
    from devi.analysis import Analysis

NOTHING = xr.Dataset(coords={"step": np.zeros(0)})


def index(entries: Iterable[tuple[Analysis, Path | str]], directory: Path, failed: Sequence[str] = ()) -> str:
    """The page as text; links are relative to `directory`, so that the folder can be moved or published.

    Beside the entries it lists the reports that earlier analyses wrote into `directory`, as their files tell of them.

    failed  of each run that could not be analyzed, which one and why
    """
    rows = {
        Path(place).resolve(): _row(
            analysis.run,
            analysis.trajectories,
            records(analysis.transitions),
            skipped(analysis.skipped),
            analysis.notices,
            Path(place),
            directory,
        )
        for analysis, place in entries
    }
    for file in directory.glob("*/analysis.h5"):
        if file.parent.resolve() not in rows:
            rows[file.parent.resolve()] = _stored(file.parent, directory)
    in_order = [rows[place] for place in sorted(rows)]
    return environment().get_template("index.html.j2").render(entries=in_order, failed=failed)


def _stored(place: Path, directory: Path) -> dict[str, Any]:
    """The row of a report that is read back from its files, which may be a stranger's."""
    try:
        document = json.loads((place / "transitions.json").read_text(encoding="utf-8"))
        with xr.open_dataset(place / "analysis.h5", engine="h5netcdf") as found:
            notices = json.loads(found.attrs["notices"])
            left_out = document.get("skipped", [])
            return _row(document["run"], found, document["transitions"], left_out, notices, place, directory)
    except Exception as error:  # whatever is wrong with one report, the others are listed
        told = f"This report's analysis.h5 or transitions.json cannot be read ({shown(error, 200)})."
        return {**_row({}, NOTHING, [], [], [], place, directory), "headline": told}


def _row(
    run: Mapping[str, Any],
    trajectories: xr.Dataset,
    transitions: list[dict[str, Any]],
    left_out: list[dict[str, str]],
    notices: Iterable[Any],
    place: Path,
    directory: Path,
) -> dict[str, Any]:
    relative = Path(os.path.relpath(place / "report.html", directory)).as_posix()
    return {
        "name": run.get("name", place.name),
        "task": run.get("task", ""),
        "seed": run.get("seed"),
        "headline": headline(trajectories, transitions, left_out),
        "sentences": [sentence(trajectories, one) for one in transitions],
        "health": health(trajectories),
        "notices": [str(notice) for notice in notices],
        "link": quote(relative),
    }
