"""What every matplotlib figure shares: size, fonts, the step axis, shaded transitions, curves with error bands."""

from __future__ import annotations

import contextlib
import functools
import textwrap
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from string import ascii_lowercase
from typing import Any, BinaryIO, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import get_registered_canvas_class
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from devi.errors import DeviError, shown
from devi.report import palette
from devi.report.document import records
from devi.report.panels import Panel
from devi.report.selection import isolated
from devi.report.step_axis import TITLE, StepAxis

COLUMN, PAGE = 3.5, 7.2  # inches: one column and the full width of a two-column paper, printed at 100%
DOTS = 200  # dots an inch in PNG files
FORMATS: dict[str, dict[str, Any]] = {  # suffix -> what the file says of itself: no dates, same input same file
    ".png": {"Software": "devi"},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
BAND = 2  # standard errors on each side
# Of the step axis, between numbers in one row: '10' and '11' in 7 points take 0.125 of the 2.5 inches of a column.
APART = 0.06
ROW = 8  # points, from one row of numbers above the axes to the next
FONTS = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: same figure on every machine
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.hashsalt": "devi",  # same input, same SVG file
}
P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw with our fonts without touching the user's matplotlib settings."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(FONTS):
            return draw(*args, **kwargs)

    return drawn


def new_figure(width: float, height: float) -> Figure:
    """A figure outside pyplot: nothing to close, and safe in threads."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> list[Path]:
    """path.png and path.svg."""
    layout = figure.get_layout_engine()
    settle(figure)
    try:
        return [save_as(figure, path.with_suffix(suffix)) for suffix in (".png", ".svg")]
    finally:
        figure.set_layout_engine(layout)


def settle(figure: Figure) -> None:
    """Find the places of everything once, for every file that is made of the figure: that is half of drawing."""
    with _as_file(figure, DOTS):
        layout = figure.get_layout_engine()
        if layout is not None:
            layout.execute(figure)
    figure.set_layout_engine("none")


def save_as(figure: Figure, path: Path) -> Path:
    """The figure in the format that the path's suffix names; the folder is made if it is missing."""
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise DeviError(f"{path} ends in '{path.suffix}'; expected {', '.join(FORMATS)}. Name it {path.stem}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_as(figure, kind, file, dots=DOTS)
    return path


def write_as(figure: Figure, kind: str, file: BinaryIO, *, dots: float) -> None:
    """The figure in one of FORMATS, `dots` an inch where it has dots.

    As `figure.savefig`, which draws everything twice where a layout is to be found (or was, and is switched off).
    """
    canvas = figure.canvas
    try:
        with _as_file(figure, dots):
            printing = get_registered_canvas_class(kind[1:])(figure)
            getattr(printing, f"print_{kind[1:]}")(file, metadata=FORMATS[kind])
    finally:
        figure.set_canvas(canvas)


@contextlib.contextmanager
def _as_file(figure: Figure, dots: float) -> Iterator[None]:
    """With our fonts, at so many dots an inch."""
    before, figure.dpi = figure.dpi, dots
    try:
        with matplotlib.rc_context(FONTS), warnings.catch_warnings():
            # A metric may be named in letters that DejaVu lacks; boxes in a figure are no reason to fail a report.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            yield
    finally:
        figure.dpi = before


def literal(text: str) -> str:
    """Text that matplotlib takes as it is: a '$' in a user's name starts no formula, and an SVG stays XML."""
    text = shown(text, 400).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text  # a leading underscore would hide it from the legend


def wrapped(label: str, letters: int = 20) -> str:
    """A y label on as many lines as it needs to be no longer than a low panel is high."""
    return textwrap.fill(label, letters, break_on_hyphens=False)


def step_axis(axes: Axes, axis: StepAxis, *, labelled: bool = True) -> None:
    """Put the shared step axis on `axes`: log, with step 0 apart and the axis broken between."""
    axes.set_xscale(axis.scale)
    axes.set_xlim(axis.low, axis.high)
    if axis.scale == "log":
        axes.xaxis.set_major_locator(FixedLocator(list(axis.ticks)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: axis.label(_nearest(axis.ticks, tick))))
        axes.xaxis.set_minor_formatter(NullFormatter())
        if len([tick for tick in axis.ticks if tick != axis.zero]) > 3:
            minor = [d * 10.0**p for p in range(-1, 12) for d in range(2, 10)]
            inside = [tick for tick in minor if axis.ticks[1] <= tick <= axis.high]
            axes.xaxis.set_minor_locator(FixedLocator(inside))
        else:
            axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.10g}"))
    if axis.zero is not None:
        _break(axes, axis)
    axes.tick_params(axis="x", labelbottom=labelled)
    if labelled:
        axes.set_xlabel(TITLE)


def _break(axes: Axes, axis: StepAxis) -> None:
    """Two slanted strokes on the axis line, between step 0 and the first positive step."""
    fraction = axis.share(0) + 0.045
    strokes: dict[str, Any] = {"transform": axes.transAxes, "color": "black", "lw": 0.6, "clip_on": False}
    for shift in (0.0, 0.012):
        axes.plot([fraction + shift - 0.006, fraction + shift + 0.006], [-0.025, 0.025], **strokes)


def _nearest(ticks: tuple[float, ...], tick: float) -> float:
    return min(ticks, key=lambda known: abs(known - tick), default=tick)


def shade(
    axes: Axes,
    axis: StepAxis,
    transitions: Iterable[Any],
    *,
    numbered: bool = False,
    on_colour: bool = False,
    metrics: Collection[str] | None = None,
    outside: Collection[float] = (),
) -> None:
    """Each transition from onset to end, with a line at its midpoint and its number above the axes.

    on_colour  the axes hold a heat map: white outlines in place of shading that nobody would see
    metrics    those in the axes: a transition that none of them supports has its line only, and a grey number
    outside    steps at which something was done to the run from outside: a dashed line each, and a letter
    """
    found = records(transitions)
    marks = sorted([*((one["midpoint"], k) for k, one in enumerate(found)), *((step, -1) for step in outside)])
    rows = dict(zip(marks, axis.rows([step for step, _ in marks], apart=APART), strict=True))
    if numbered:
        _raise_legend(axes, max(rows.values(), default=0))
    for letter, step in zip(ascii_lowercase, sorted(outside), strict=False):
        axes.axvline(axis.position(step), color=palette.BLACK, lw=0.8, ls=(0, (5, 2)), zorder=0.6)
        _above(axes, letter, axis.position(step), rows[step, -1], palette.BLACK)
    for number, transition in enumerate(found, start=1):
        row = rows[transition["midpoint"], number - 1]
        onset, middle, end = (axis.position(transition[key]) for key in ("onset", "midpoint", "end"))
        if on_colour:
            for edge in (onset, end):
                axes.axvline(edge, color="white", lw=0.8, ls=(0, (2, 2)))
        else:
            moving = {entry["metric"] for entry in transition.get("support") or ()}
            moves = metrics is None or not moving or not moving.isdisjoint(metrics)
            if moves:
                axes.axvspan(onset, end, color=palette.SHADE, alpha=0.22, lw=0, zorder=0)
            axes.axvline(middle, color=palette.SHADE, lw=0.7, ls=(0, (1, 1)), zorder=0.5)
        if numbered:
            _above(axes, str(number), middle, row, palette.BLACK if on_colour or moves else palette.SHADE)


def _raise_legend(axes: Axes, rows: int) -> None:
    """Make room for so many rows of numbers more than one below a legend that stands above the axes."""
    legend = axes.get_legend()
    if legend is None or not rows:
        return
    left, bottom = axes.transAxes.inverted().transform(legend.get_bbox_to_anchor().p0)
    if bottom > 1:
        higher = ScaledTranslation(0, (ROW * rows + 1.5) / 72, axes.figure.dpi_scale_trans)
        legend.set_bbox_to_anchor((left, bottom), transform=axes.transAxes + higher)


def _above(axes: Axes, text: str, position: float, row: int, colour: str) -> None:
    """A number or a letter above the axes, in a row of StepAxis.rows."""
    axes.annotate(
        text, (position, 1), xycoords=("data", "axes fraction"), xytext=(0, 1.5 + ROW * row), color=colour,
        textcoords="offset points", ha="center", va="bottom", fontsize=7, annotation_clip=False,
    )  # fmt: skip


def curves(axes: Axes, axis: StepAxis, steps: np.ndarray, panel: Panel, *, legend: bool = True) -> None:
    """All curves of a panel: error bands, gaps where values are missing, hollow markers where estimates are flagged."""
    x = np.array([axis.position(step) for step in steps])
    several = len(panel.series) > 1
    for index, series in enumerate(panel.series):
        look = palette.line(index)
        alone = np.flatnonzero(isolated(series.values)).tolist()  # no line shows them
        marker: dict[str, Any] = {"marker": palette.style(index).marker, "ms": 4, "markevery": alone} if alone else {}
        axes.plot(x, series.values, label=literal(series.label), **look, **marker)
        if series.error is not None and np.isfinite(series.error).any():
            low, high = series.values - BAND * series.error, series.values + BAND * series.error
            axes.fill_between(x, low, high, color=look["color"], alpha=0.25, lw=0, label=f"± {BAND} standard errors")
        if series.flagged is not None and series.flagged.any():
            hollow: dict[str, Any] = {
                "ls": "",
                "marker": "o",
                "ms": 3,
                "mfc": "white",
                "mec": look["color"],
                "mew": 0.7,
            }
            axes.plot(x[series.flagged], series.values[series.flagged], label="flagged estimate", **hollow)
    if panel.is_log:
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
        # No offset: '+2.3026e3' above the axes would stand among the numbers of the transitions.
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 5), useMathText=True, useOffset=False)
    axes.set_ylabel(wrapped(literal(panel.label)))
    if legend and (several or len(axes.get_legend_handles_labels()[0]) > 1):
        legend_above(axes, title=literal(panel.legend))


def legend_above(axes: Axes, *, title: str = "", right: bool = False) -> None:
    """A legend that covers no data: above the axes, or right of them where there are many entries."""
    labels = axes.get_legend_handles_labels()[1]
    if right or len(labels) > 4:
        axes.legend(
            loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=1 if len(labels) <= 10 else 2, title=title or None,
            title_fontsize=7, handlelength=1.8, columnspacing=0.8, labelspacing=0.25,
        )  # fmt: skip
    else:
        wide = sum(map(len, labels)) + 6 * len(labels) > 52  # letters that fit above one column
        axes.legend(
            loc="lower left", bbox_to_anchor=(0.0, 1.08), ncols=2 if wide else len(labels), borderaxespad=0.0,
            handlelength=2.0, columnspacing=1.2, labelspacing=0.25,
        )  # fmt: skip
