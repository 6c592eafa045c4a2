"""Draws ↔ ArviZ: a DataTree in ArviZ's schema, with the checkpoint as a further dimension of every quantity.

    posterior      llc_draw (chain, draw, step)   nβ·(L(w) − L(w*)): its posterior mean is the raw estimate
    sample_stats   loss (chain, draw, step)       and `diverging`, where it is not finite; likewise whatever else the
                                                  draws hold by chain and draw
    devi           everything else, and the attributes

A summary of the posterior has one row per checkpoint, with R-hat, effective draws and Monte Carlo errors. The losses
of examples, where kept, are in the group devi too: the posterior is tempered, so they are not the log-likelihood that
ArviZ's cross-validation would take them for. No unit for llc_draw; losses keep theirs.
Source: https://python.arviz.org, InferenceData schema specification.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from devi.errors import DeviError


def to_arviz(draws: xr.Dataset) -> xr.DataTree:
    """All checkpoints of `draws`, from `devi.sample`, as one tree; `tree.to_netcdf(path)` keeps it in a file."""
    along = [name for name, value in draws.data_vars.items() if {"chain", "draw"} <= {*value.dims}]
    counted = [name for name in ("chain", "draw") if name not in draws.coords]
    numbered = draws.assign_coords({name: np.arange(draws.sizes[name]) for name in counted})
    statistics = numbered[along].transpose("chain", "draw", ...)
    excess = draws.attrs["n_beta"] * (statistics["loss"] - numbered["base_loss"])
    excess.attrs = {"units": "1", "long_name": "n_beta × (loss − loss at the checkpoint)"}
    return xr.DataTree.from_dict(
        {
            "posterior": excess.to_dataset(name="llc_draw").assign_attrs(inference_library="devi"),
            "sample_stats": statistics.assign(diverging=~np.isfinite(statistics["loss"])).drop_attrs(deep=False),
            "devi": draws.drop_vars(along),
        }
    )


def from_arviz(tree: xr.DataTree) -> xr.Dataset:
    """The draws that `to_arviz` was given."""
    if not {"sample_stats", "devi"} <= {*tree.children}:
        groups = ", ".join(tree.children) or "none"
        raise DeviError(
            f"this tree has no groups sample_stats and devi (it has: {groups}); expected one that to_arviz made."
            f" Other samplers' trees do not say what the loss at the checkpoint is."
        )
    rest = tree.children["devi"].to_dataset(inherit=False)
    statistics = tree.children["sample_stats"].to_dataset(inherit=False).drop_vars("diverging")
    counted = [name for name in ("chain", "draw") if name not in rest.coords]
    along = statistics.transpose("step", "chain", "draw", ...).drop_vars(counted)
    return rest.merge(along, combine_attrs="override")
