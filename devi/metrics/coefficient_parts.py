"""What stands beside the learning coefficient: those of some parameters, losses on other data, losses of examples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from devi.metrics.metric import labels

SOURCE = "Lau et al. 2023, arXiv:2308.12108"
KEPT = ("llc", "llc_se", "llc_virial", "llc_rhat", "llc_ess", "llc_headroom", "llc_gradients", "llc_flags")


def beside(whole: xr.Dataset, restricted: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """The estimates for all parameters with those of restrictions: restricted_llc (step, restriction) and the like."""
    if not restricted:
        return whole
    names, parts = list(restricted), list(restricted.values())
    columns: dict[str, Any] = {}
    for name in KEPT:
        first = parts[0][name]
        about = {**first.attrs, "long_name": f"{first.attrs['long_name']}, of some parameters"}
        about |= {} if name == "llc" else {"detect": 0}  # diagnostics: searching each would multiply false alarms
        values = np.stack([part[name].values for part in parts], axis=1)
        columns[f"restricted_{name}"] = (("step", "restriction"), values, about)
    lost = {name: json.loads(part.attrs["non_finite"]) for name, part in restricted.items()}
    told = [f"{name}: {line}" for name, lines in lost.items() for line in lines]
    dimensions = json.dumps({name: part.attrs["dimension"] for name, part in restricted.items()})
    return whole.assign(columns).assign_coords(restriction=names).assign_attrs(
        restricted_non_finite=json.dumps(told), restricted_dimension=dimensions
    )  # fmt: skip


def observed_excess(draws: xr.Dataset) -> xr.Dataset:
    """E[L_other(w)] − L_other(w*) and its error on every observed data set; nothing if none was.

    observed_excess, observed_excess_se  (step, observed)  in the loss's unit; what a finite step adds is not taken off
    """
    from devi.sampling.diagnostics import rhat_and_ess, standard_error
    from devi.sampling.estimate import finite_chains

    if "observed_loss" not in draws:
        return xr.Dataset()
    excess = draws["observed_loss"].values - draws["observed_base"].values[:, None, None, :]
    keep = finite_chains(draws) & np.isfinite(excess).all(axis=(2, 3))
    means, errors = (np.full((len(excess), excess.shape[3]), np.nan) for _ in range(2))
    for step, column in np.ndindex(means.shape):
        trace = excess[step, keep[step], :, column][None]  # (1, chain, visit)
        if trace.shape[1]:
            means[step, column] = trace.mean()
            errors[step, column] = standard_error(trace, rhat_and_ess(trace)[1])[0]
    units = draws["loss"].attrs["units"]
    dims = ("step", "observed")
    return xr.Dataset(
        {
            "observed_excess": (dims, means, labels(units, "loss along the chains − at w*", SOURCE, detect=False)),
            "observed_excess_se": (dims, errors, labels(units, "its standard error", SOURCE, detect=False)),
        },
        coords={"step": draws["step"], "observed": draws["observed"]},
    )


def stored_examples(draws: xr.Dataset) -> xr.Dataset:
    """The losses of examples as they are stored; nothing if none were kept.

    example_loss  (step, chain, kept_draw, example);  example_draw (step, kept_draw): blocks of checkpoints may have
    taken different numbers of draws, and kept others of them
    """
    from devi.sampling.example_losses import encoding

    if "example_loss" not in draws:
        return xr.Dataset()
    kept = draws["kept_draw"].values
    losses = draws["example_loss"].assign_coords(kept_draw=np.arange(len(kept)))
    losses.attrs["detect"] = 0
    losses.encoding = encoding(losses.shape)  # type: ignore[arg-type]  # four numbers, as its four dimensions
    at = np.broadcast_to(kept.astype(float), (draws.sizes["step"], len(kept)))
    about = labels("1", "draw after burn-in whose losses are kept", SOURCE, detect=False)
    return xr.Dataset({"example_loss": losses, "example_draw": (("step", "kept_draw"), at.copy(), about)})
