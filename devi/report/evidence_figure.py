"""The evidence for one transition: curve by curve the data, the best fit with and without it, and what each leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from devi.errors import DeviError, counted
from devi.report import palette
from devi.report.canvas import PAGE, legend_above, literal, new_figure, shade, step_axis, styled, wrapped
from devi.report.document import records
from devi.report.panels import with_units
from devi.report.step_axis import StepAxis

NOISE = (
    "noise: the scatter around each point, the standard error or the rounding, whichever is largest,\n"
    "and 2.5% of the range; without its correlation"
)
MOST = 4  # curves in one figure; the rest is counted in the table of the report


@styled
def evidence(curves: Sequence[Any], transition: Any) -> Figure:
    """Of each curve that moves, left its values with both fits, right the residuals of both in units of the noise.

    curves      of one transition, from Detection.evidence
    transition  the one they belong to
    """
    shown = list(curves)[:MOST]
    if not shown:
        raise DeviError("no curve supports this transition; expected those of Detection.evidence[transition.id].")
    figure = new_figure(PAGE, 0.6 + 1.5 * len(shown))
    rows = figure.subplots(len(shown), 2, squeeze=False)
    # One axis for all: a curve that is known from later on only would else stand under the others' labels.
    axis = StepAxis.of(np.unique(np.concatenate([one.steps for one in shown])))
    for row, one in enumerate(shown):
        last = row == len(shown) - 1
        left, right = rows[row]
        dots: dict[str, Any] = {"ls": "", "marker": "o", "ms": 2, "alpha": 0.6}
        left.errorbar(
            one.steps, one.values, yerr=one.noise, color=palette.SHADE, elinewidth=0.5, label="measured ± noise", **dots
        )
        left.plot(one.steps, one.without, label="best fit without the change", **palette.line(1))
        left.plot(one.steps, one.fitted, label="with it", **palette.line(0))
        for axes in (left, right):
            axes.plot(
                records([transition])[0]["intervals"]["midpoint"], [0.04, 0.04], transform=axes.get_xaxis_transform(),
                color=palette.BLACK, lw=2, marker="|", ms=6, mew=1, label="midpoint, 90% interval",
            )  # fmt: skip
        left.set_ylabel(wrapped(literal(with_units(one.name, one.units))))
        right.plot(one.steps, (one.values - one.without) / one.noise, color=palette.line(1)["color"], **dots)
        right.plot(one.steps, (one.values - one.fitted) / one.noise, color=palette.line(0)["color"], **dots)
        right.axhspan(-2, 2, color=palette.SHADE, alpha=0.15, lw=0)
        right.annotate(
            "± 2", (1, 0), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
            va="center", fontsize=7, color=palette.GUIDE, annotation_clip=False,
        )  # fmt: skip
        right.set_ylabel("residual / noise")
        limit = 1.1 * max(4.0, float(np.max(np.abs(one.values - one.without) / one.noise)))
        right.set_ylim(-limit, limit)
        right.set_title(f"log Bayes factor {one.log_bayes_factor:,.1f} nats", loc="right")
        for axes in (left, right):
            step_axis(axes, axis, labelled=last)
            shade(axes, axis, [transition])
        if row == 0:
            legend_above(left)
    rest = len(curves) - len(shown)
    more = f"\n{counted(rest, 'more curve')} moved at the same time" if rest else ""
    figure.supxlabel(NOISE + more, fontsize=7)
    return figure
