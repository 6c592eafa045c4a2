"""The report of a run: `write(analysis, directory)` makes report.html, figures/ and transitions.json.

Nothing here imports torch, and matplotlib and Altair are loaded by the first report, not by `import devi`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from devi.report.document import transitions_document

if TYPE_CHECKING:
    from devi.analysis import Analysis

__all__ = ["transitions_document", "write", "write_index"]

Progress = Callable[[str, float], None]  # what is being done, and how much of it, 0 to 1


def write(analysis: Analysis, directory: Path | str, *, figures: bool = True, progress: Progress | None = None) -> Path:
    """Write report.html, transitions.json and figures/NAME.png and .svg; returns the path of report.html.

    Beside the figures for papers stands one of the evidence for each transition: evidence-t1 and so on.

    figures  False leaves out the figures for papers, which take most of the time
    """
    from devi.report.document import write_document
    from devi.report.drawing import drawn
    from devi.report.page import page

    tell = progress or (lambda what, share: None)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    write_document(analysis, directory / "transitions.json")
    tell("figures", 0.0)
    pictures = drawn(analysis, directory / "figures" if figures else None, lambda share: tell("figures", share))
    path = directory / "report.html"
    path.write_text(page(analysis, pictures, figures=figures), encoding="utf-8", errors="replace")
    tell("figures", 1.0)
    return path


def write_index(
    entries: Iterable[tuple[Analysis, Path | str]],
    directory: Path | str,
    *,
    failed: Sequence[str] = (),
) -> Path:
    """Write index.html, which lists these runs and those whose reports lie in `directory` from before.

    entries  (analysis, the directory of its report)
    failed   of each run that could not be analyzed, which one and why
    """
    from devi.report.index import index

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "index.html"
    path.write_text(index(entries, directory, failed), encoding="utf-8", errors="replace")
    return path
