"""Which estimates their own diagnostics flag: words, comma-separated, of which some are information only."""

from __future__ import annotations

import numpy as np
import xarray as xr


def is_unhealthy(flags: xr.DataArray) -> np.ndarray:
    """Whether an estimate is flagged by more than what its attribute `information` lists, bool, in the flags' shape."""
    information = information_of(flags)
    found = [bool(set(str(words).split(",")) - information) for words in flags.values.ravel()]
    return np.array(found, dtype=bool).reshape(flags.shape)


def information_of(flags: xr.DataArray) -> set[str]:
    """Words that say something of an estimate and nothing against it, and the empty one."""
    return {"", *str(flags.attrs.get("information", "")).split(",")}
