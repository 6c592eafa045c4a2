"""Drawing: all figures of a report, side by side in processes, because each takes about a second of matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from devi.forks import each
from devi.report import canvas
from devi.report.evidence_figure import evidence
from devi.report.figures import FIGURES, available

if TYPE_CHECKING:
    from devi.analysis import Analysis

PICTURES = ("overview", "feature_geometry", "fourier")  # shown on the page where scripts are off
PICTURE_DOTS = 110  # an inch


def drawn(analysis: Analysis, folder: Path | None, progress: Callable[[float], None]) -> dict[str, bytes]:
    """Write NAME.png and NAME.svg of every figure into `folder`; returns the PNG of each of PICTURES, by name.

    folder   None writes no files
    """
    trajectories, transitions = analysis.trajectories, analysis.transitions
    jobs: dict[str, Callable[[], Figure]] = {
        name: partial(FIGURES[name], trajectories, transitions)
        for name in available(trajectories)
        if folder is not None or name in PICTURES
    }
    if folder is not None:
        jobs |= {
            f"evidence-{one.id}": partial(evidence, analysis.evidence[one.id], one)
            for one in transitions
            if one.id in analysis.evidence
        }
    names = list(jobs)

    def draw(number: int) -> bytes:
        name = names[number]
        figure = jobs[name]()
        canvas.settle(figure)
        if folder is not None:
            canvas.save(figure, folder / name)
        picture = io.BytesIO()
        if name in PICTURES:
            canvas.write_as(figure, ".png", picture, dots=PICTURE_DOTS)
        return picture.getvalue()

    found = each(len(names), draw, progress)
    return {name: picture for name, picture in zip(names, found, strict=True) if picture}
