"""Which estimates their own diagnostics flag: words, comma-separated, of which some are information only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr


def is_unhealthy(flags: xr.DataArray) -> np.ndarray:
    """Whether an estimate is flagged by more than what its attribute `information` lists, bool, in the flags' shape."""
    information = information_of(flags)
    found = [bool(set(str(words).split(",")) - information) for words in flags.values.ravel()]
    return np.array(found, dtype=bool).reshape(flags.shape)


def caveat(metric: str, steps: Sequence[float], trajectories: xr.Dataset) -> str:
    """' (flagged)' behind values of a metric at these steps of which its own diagnostics say that one is not sound."""
    flags = trajectories.get(f"{metric}_flags")
    if flags is None or flags.dims != ("step",):
        return ""
    return " (flagged)" if is_unhealthy(flags)[np.isin(trajectories["step"].values, steps)].any() else ""


def information_of(flags: xr.DataArray) -> set[str]:
    """Words that say something of an estimate and nothing against it, and the empty one."""
    return {"", *str(flags.attrs.get("information", "")).split(",")}
