from __future__ import annotations

import altair as alt
import pytest

from devi.report.document import records
from devi.report.page import _charts


@pytest.mark.parametrize("kind", ["modular", "superposition", "trajectories"])
def test_every_chart_of_the_page_is_valid_vega_lite(kind, request, transition):
    groups = _charts(request.getfixturevalue(kind), records([transition]))
    assert len(groups) > 0
    for chart in [chart for group in groups.values() for chart in group]:
        alt.Chart.from_dict(chart.spec, validate=True)
