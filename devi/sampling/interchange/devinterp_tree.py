"""Draws ↔ devinterp 2's sampling tree, which `compute_llc`, `compute_bif` and `compute_susceptibilities` read.

devinterp's tree is about one model, and its losses about tokens. A checkpoint becomes a tree of its own, an example a
sequence of one predicted token, and what has no place there goes along in the group /devi:

    sampling_loss_micro  (chain, step, batch_sampling=1, token_pos=1)   loss at every draw; `step` is the sampler's
    sampling_loss        (chain, draw, batch=1, token_pos=1)            loss at the draws with kept example losses
    init_loss            (chain, token_pos=1)                           base_loss, the same for every chain
    loss_NAME            (chain, draw, batch_NAME, token_pos=1)         example_loss_NAME; `train` for example_loss
    input_ids_NAME       (batch_NAME, token=2) int64                    there are no tokens: the example's row, twice
    /devi                everything else of the draws at the checkpoint, and their attributes

Losses keep their unit and their float64. Source: devinterp 2.0.1, slt/sampling.py `_build_sampling_schema`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from devi.errors import DeviError

# The names of devinterp's samplers, where ours is the same one; another keeps its own name.
SAMPLING_METHODS = {"sgld": "sgmcmc_sgld", "devinterp": "sgmcmc_sgld", "psgld": "rmsprop_sgld"}
EXAMPLE_LOSS = "example_loss"  # and example_loss_NAME: (step, chain, kept_draw, example), (…, example_NAME)


def to_devinterp(draws: xr.Dataset, *, step: int | None = None) -> xr.DataTree:
    """The sampling tree of one checkpoint; `step` is its training step, needed where there are several.

        compute_llc(tree).llc_mean = n_beta · (mean of loss over chains and draws − base_loss) = llc_raw

    draws  from `devi.sample`: loss (step, chain, draw), base_loss (step,), burn-in already dropped

    So the tree says num_burnin_steps 0, and devinterp's mean over all steps is the mean over draws. Minibatch losses
    stay less their difference at w*, which devinterp's own are not. devinterp skips NaN draw by draw; a chain that
    left the numbers is NaN from its first draw on here, so that it is left out whole.
    """
    here = _checkpoint(draws, step)
    loss = here["loss"].values  # (chain, draw)
    loss = np.where(np.isfinite(loss).all(axis=1, keepdims=True), loss, np.nan)
    kept = here["kept_draw"].values if "kept_draw" in here.dims else np.arange(loss.shape[1])
    base = np.full((len(loss), 1), float(here["base_loss"]))
    variables: dict[str, Any] = {
        "init_loss": (("chain", "token_pos"), base),
        "sampling_loss_micro": (
            ("chain", "step", "batch_sampling", "token_pos"),
            loss[:, :, None, None],
            here["loss"].attrs,
        ),
        "sampling_loss": (("chain", "draw", "batch", "token_pos"), loss[:, kept, None, None]),
    }
    observed = [str(name) for name in here.data_vars if str(name).startswith(EXAMPLE_LOSS)]
    for variable in observed:
        name, example = _observable(variable), str(here[variable].dims[-1])
        number = here[example].values  # the example's row in its data set
        variables[f"loss_{name}"] = (
            ("chain", "draw", f"batch_{name}", "token_pos"),
            here[variable].values[..., None],
            here[variable].attrs,
        )
        variables[f"input_ids_{name}"] = ((f"batch_{name}", "token"), np.stack([number, number], axis=1))
    # A group below must agree with the root's `draw` and `step`, and those are devinterp's.
    rest = here.drop_vars(["loss", "step", *observed]).assign_attrs(training_step=int(here["step"]))
    rest = rest.rename({"draw": "every_draw"} if "draw" in rest.dims else {})
    # zarr has a specification for text of any length only
    text = {name: value.astype(object) for name, value in rest.variables.items() if value.dtype.kind == "U"}
    rest = rest.assign_coords(text)
    config = _config(draws.attrs, kept, [_observable(variable) for variable in observed])
    root = xr.Dataset(variables, attrs={"metadata": {"config": config}, "completed": 1})
    return xr.DataTree.from_dict({"/": root, "/devi": rest})


def from_devinterp(tree: xr.DataTree, *, step: int | None = None) -> xr.Dataset:
    """Draws that `learning_coefficient` and the diagnostics take, from `to_devinterp` or devinterp's own `sample`.

    step  training step of the checkpoint; the one stored, or 0

    From devinterp's own tree: loss (step, chain, draw) is `sampling_loss_micro`, a mean over batch and tokens, without
    the burn-in steps; base_loss is the mean of `init_loss`; example_loss_NAME are the means of `loss_NAME` over tokens.
    Sampled by SGLD with save_metrics=True and a localization, the tree also says how healthy the chains are and what
    the control variates of `devi.sampling.stein` need, all weights in one group. Without, that is unknown: the virials
    are NaN, and the estimate is the raw one.
    """
    if "sampling_loss_micro" not in tree or "metadata" not in tree.attrs:
        raise DeviError(
            "this is no sampling tree of devinterp 2: it has no sampling_loss_micro with metadata. Expected what"
            " devinterp.slt.sampling.sample returns, or xarray.open_datatree('samples.zarr', engine='zarr')."
        )
    if "devi" in tree.children:
        return _ours(tree, step)
    root, settings = tree.to_dataset(), tree.attrs["metadata"]["config"]["sampler"]
    after = slice(settings["num_burnin_steps"], None)
    loss = root["sampling_loss_micro"].mean(["batch_sampling", "token_pos"], dtype=np.float64, skipna=False)
    variables: dict[str, Any] = {
        "loss": (("step", "chain", "draw"), loss.isel(step=after).values[None]),
        "base_loss": (("step",), [float(root["init_loss"].mean(dtype=np.float64))]),
        "virial_by_parameter": (("step", "parameter"), np.zeros((1, 0))),
    }
    variables |= _health(root.isel(step=after), settings)
    taken = variables["loss"][1].shape[2]
    coordinates: dict[str, Any] = {
        "step": [0 if step is None else step],
        "draw": np.arange(taken),
        "visit": np.arange(variables["heat"][1].shape[2]),
        "parameter": np.array([], dtype=str),
    }
    for variable in (str(name) for name in root.data_vars if str(name).startswith("loss_")):
        name = variable.removeprefix("loss_")
        example = f"example_{name}"
        values = root[variable].mean("token_pos", skipna=False).values[None]
        variables[f"{EXAMPLE_LOSS}_{name}"] = (("step", "chain", "kept_draw", example), values)
        coordinates[example] = np.arange(values.shape[-1])
        coordinates["kept_draw"] = np.arange(values.shape[2]) * settings["num_steps_bw_draws"]
    return xr.Dataset(
        variables,
        coords=coordinates,
        attrs={
            "sampler": settings["sampling_method"],
            "step_size": settings["lr"],
            "n_beta": settings["n_beta"],
            "localization": settings["localization"],
            "burn_in": settings["num_burnin_steps"],
            "chains": settings["num_chains"],
            "draws": taken,
            "batch_size": settings["batch_size"] * settings["gradient_accumulation_steps"],
            "seed": settings["init_seed"],
            "dimension": tree.attrs.get("metrics_numel", np.nan),
            "is_adjusted": 0,
        },
    )


def _ours(tree: xr.DataTree, step: int | None) -> xr.Dataset:
    """What `to_devinterp` was given, at its one checkpoint."""
    root, rest = tree.to_dataset(), tree.children["devi"].to_dataset(inherit=False)
    rest = rest.rename({"every_draw": "draw"} if "every_draw" in rest.dims else {})
    rest.attrs = {**rest.attrs}  # not the tree's own
    training_step = rest.attrs.pop("training_step")
    loss = root["sampling_loss_micro"]
    variables: dict[str, Any] = {"loss": (("chain", "draw"), loss.values[:, :, 0, 0], loss.attrs)}
    for name in (str(name) for name in root.data_vars if str(name).startswith("loss_")):
        known = name.removeprefix("loss_")
        suffix = "" if known == "train" and "example" in rest.coords else f"_{known}"
        values = (("chain", "kept_draw", f"example{suffix}"), root[name].values[..., 0], root[name].attrs)
        variables[f"{EXAMPLE_LOSS}{suffix}"] = values
    return rest.assign(variables).expand_dims(step=[training_step if step is None else step])


def _health(root: xr.Dataset, settings: dict[str, Any]) -> dict[str, Any]:
    """What `devi.sample` tells of its chains besides their losses, from devinterp's metrics of every step.

    With s = ε/2:  scaled_grad = ‖s·nβ·∇L‖,  distance = ‖w − w*‖,  dot_grad_prior = s²·nβ·γ·(w − w*)·∇L, the weights
    that a mask freezes left out of all three. So (w − w*)·∇U, ‖∇U‖² and nβ∇L·∇U are known, with ∇U = nβ∇L + γ(w − w*).
    Source: devinterp 2.0.1, optim/metrics.py.
    """
    chain, visit = ("step", "chain"), ("step", "chain", "visit")
    is_plain = settings["sampling_method"] == "sgmcmc_sgld" and settings["noise_level"] == 1
    is_localized = settings["localization"] > 0 and settings["llc_weight_decay"] == 0
    if not (is_plain and is_localized and settings["lr"] > 0 and "metrics_distance" in root):
        unknown, nothing = np.full((1, root.sizes["chain"]), np.nan), np.zeros((1, root.sizes["chain"], 1))
        return {
            "virial_loss": (chain, unknown),
            "virial_localization": (chain, unknown),
            "stein": ((*visit, "group"), nothing[..., None]),  # of a single visit: too few to be used
            "heat": (visit, nothing),
            "step_bias": (visit, nothing),
        }
    step_size, localization, dimension = settings["lr"], settings["localization"], root.attrs["metrics_numel"]

    def metric(name: str) -> np.ndarray:  # (1, chain, visit)
        return root[f"metrics_{name}"].values.astype(np.float64)[None]

    push = (metric("scaled_grad") / (0.5 * step_size)) ** 2  # ‖nβ∇L‖²
    mixed = metric("dot_grad_prior") / (0.5 * step_size) ** 2  # nβ·γ·(w − w*)·∇L
    pull = localization * metric("distance") ** 2  # γ·‖w − w*‖²
    squared_force = push + 2 * mixed + localization * pull
    return {
        "virial_loss": (chain, mixed.mean(axis=2) / localization / dimension),
        "virial_localization": (chain, pull.mean(axis=2) / dimension),
        "stein": ((*visit, "group"), (mixed / localization + pull - dimension)[..., None]),
        "heat": (visit, step_size / 4 * squared_force / dimension),
        "step_bias": (visit, step_size / 8 * (push + mixed)),
    }


def _checkpoint(draws: xr.Dataset, step: int | None) -> xr.Dataset:
    known = draws["step"].values.tolist()
    listed = ", ".join(str(value) for value in known[:5]) + (" …" if len(known) > 5 else "")
    if step is None and len(known) > 1:
        raise DeviError(
            f"these draws are of {len(known)} checkpoints (steps {listed}), and devinterp's tree is of one. Say which:"
            f" to_devinterp(draws, step={known[-1]})"
        )
    if step is not None and step not in known:
        raise DeviError(f"there are no draws at step {step}; expected one of: {listed}")
    return draws.isel(step=0 if step is None else known.index(step))


def _observable(variable: str) -> str:
    return variable.removeprefix(EXAMPLE_LOSS).removeprefix("_") or "train"


def _config(attrs: dict[str, Any], kept: np.ndarray, observables: list[str]) -> dict[str, Any]:
    """devinterp's own description of a sampling; batch_size is that of the gradients."""
    sampler = {
        "lr": float(attrs["step_size"]),
        "n_beta": float(attrs["n_beta"]),
        "localization": float(attrs["localization"]),
        "noise_level": 1.0,
        "llc_weight_decay": 0.0,
        "bounding_box_size": None,
        "sampling_method": SAMPLING_METHODS.get(attrs["sampler"], attrs["sampler"]),
        "sampling_method_kwargs": {},
        "batch_size": int(attrs["batch_size"]),
        "gradient_accumulation_steps": 1,
        "num_chains": int(attrs["chains"]),
        "num_draws": len(kept),
        "num_burnin_steps": 0,
        "num_steps_bw_draws": int(kept[1] - kept[0]) if len(kept) > 1 else 1,
        "num_init_loss_batches": 1,
        "init_seed": int(attrs["seed"]),
        "init_noise": None,
        "match_sampling_input_ids_across_chains": True,
        "save_metrics": False,
    }
    return {
        "sampler": sampler,
        "observables": [
            {"type": "ObserveDifferentDataset", "obs_id": name, "batches_per_draw": 1} for name in observables
        ],
        "shared_observable_dims": ["token", "token_pos"],
        "tokenizer_context_length": 2,
    }
