from __future__ import annotations

import altair as alt
import numpy as np
import pytest

from devi.report.charts import x_axis
from devi.report.document import records
from devi.report.page import _charts
from devi.report.step_axis import StepAxis


@pytest.mark.parametrize("kind", ["modular", "superposition", "trajectories"])
def test_every_chart_of_the_page_is_valid_vega_lite(kind, request, transition):
    groups = _charts(request.getfixturevalue(kind), records([transition]))
    assert len(groups) > 0
    for chart in [chart for group in groups.values() for chart in group]:
        alt.Chart.from_dict(chart.spec, validate=True)


def test_ticks_of_a_linear_step_axis_are_whole_steps():
    marks = x_axis(StepAxis.of(np.array([0, 1, 2, 3]))).to_dict()["axis"]
    assert (marks["tickMinStep"], marks["format"]) == (1, ",d")
