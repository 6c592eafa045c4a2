"""Standard errors as they come beside their metrics: made to lie along them, or left out with the reason."""

from __future__ import annotations

import xarray as xr


def with_fitting_errors(trajectories: xr.Dataset) -> tuple[xr.Dataset, dict[str, str]]:
    """The curves with each NAME_se in the shape of NAME, and why those that do not fit were left out.

    One number for all of NAME, or one a step of several columns, serves everywhere; of another shape, or of no numbers,
    it says nothing of NAME.
    """
    fitting: dict[str, xr.DataArray] = {}
    left_out: dict[str, str] = {}
    for name in map(str, trajectories.data_vars):
        parent = trajectories.get(name.removesuffix("_se"))
        if not name.endswith("_se") or parent is None:
            continue
        error = trajectories[name]
        if error.dtype.kind not in "fiu":
            left_out[name] = f"holds {error.dtype} values; a standard error is a number"
        elif set(error.dims) <= set(parent.dims):
            fitting[name] = error.broadcast_like(parent).transpose(*parent.dims)
        elif error.shape == parent.shape:  # columns of a file have dimensions of their own
            fitting[name] = xr.DataArray(error.values, dims=parent.dims, attrs=error.attrs)
        else:
            left_out[name] = (
                f"has shape {error.shape} beside {parent.shape} of {name.removesuffix('_se')}, whose standard error it"
                " is by its name; expected one number for each of its values"
            )
    return trajectories.drop_vars(list(left_out)).assign(fitting), left_out


def sentences(left_out: dict[str, str]) -> list[str]:
    """A sentence for each."""
    return [f"{name} is left out: it {reason}." for name, reason in left_out.items()]
