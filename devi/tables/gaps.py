"""Gaps: where a table has no value for so long that a change in there has no date."""

from __future__ import annotations

import numpy as np
import xarray as xr

WIDE = 0.5  # decades between neighbours: a change in there has no date
SILENT = 5  # times the longest stretch of rows within, or so many rows: a curve that has no value for so long has ended


def gaps(dataset: xr.Dataset) -> list[str]:
    """A sentence for each stretch without a value, over steps or within one metric: of half a decade or more between
    two values, and of any length at the end, as of a run that diverged."""
    steps = dataset["step"].values.astype(float)
    between: dict[tuple[float, float], list[str]] = {}
    after: dict[float, list[str]] = {}
    for name in (str(name) for name in dataset.data_vars):
        variable = dataset[name]
        if variable.dims[:1] != ("step",) or variable.dtype.kind not in "fiub":
            continue
        rows = np.flatnonzero(np.isfinite(variable.values.astype(float).reshape(len(steps), -1)).any(1) & (steps > 0))
        if len(rows) < 2:
            continue
        seen = steps[rows]
        for i in np.flatnonzero(np.diff(np.log10(seen)) >= WIDE):
            between.setdefault((float(seen[i]), float(seen[i + 1])), []).append(name)
        is_error = name.endswith("_se") and name[:-3] in dataset
        if not is_error and len(steps) - 1 - rows[-1] >= SILENT * int(np.max(np.diff(rows))):
            after.setdefault(float(seen[-1]), []).append(name)
    told = []
    for (low, high), names in sorted(between.items()):
        what = "nothing was measured" if len(names) == len(dataset.data_vars) else f"no value of {', '.join(names)}"
        told.append(
            f"{what} between steps {low:,.10g} and {high:,.10g} ({np.log10(high / low):.1f} decades):"
            " a change in there can only be dated to that gap."
        )
    for last, names in sorted(after.items()):
        told.append(
            f"no finite value of {', '.join(names)} after step {last:,.10g}, of {steps[-1]:,.10g}: what happened there"
            " is not searched. Did the training diverge?"
        )
    return told
