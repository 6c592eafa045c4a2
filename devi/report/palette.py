"""Colours that colour-blind readers can tell apart, and line styles and markers that survive a black-and-white print.

Source: Okabe & Ito 2008, Color Universal Design, jfly.uni-koeln.de/color.
"""

from __future__ import annotations

from typing import Any, NamedTuple

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)  # yellow is left out: unreadable on white
DASHES: tuple[tuple[int, ...], ...] = ((), (6, 2), (2, 2), (8, 2, 2, 2))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

SHADE = "#8C8C8C"  # transitions
GUIDE = "#6B6B6B"  # reference levels


class Style(NamedTuple):
    colour: str
    dash: tuple[int, ...]  # lengths on, off, … in points; () is solid
    marker: str


def style(index: int) -> Style:
    """The style of the index-th series of a chart: 7 colours and 4 dashes, 28 pairs before one comes again."""
    return Style(CYCLE[index % len(CYCLE)], DASHES[index % len(DASHES)], MARKERS[index % len(MARKERS)])


def line(index: int) -> dict[str, Any]:
    """The same as arguments of matplotlib's `plot`."""
    colour, dash, _ = style(index)
    return {"color": colour, "linestyle": (0, dash) if dash else "-"}
