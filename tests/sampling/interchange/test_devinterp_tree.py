import numpy as np
import pytest
import torch
import xarray as xr

from devi.errors import DeviError
from devi.known.monomials import Monomials
from devi.metrics.learning_coefficient import learning_coefficient
from devi.sampling.interchange import from_devinterp, to_devinterp
from tests.sampling.interchange.some_draws import some_draws, with_example_losses

SAMPLING = {"lr": 1e-3, "n_beta": 30.0, "localization": 5.0, "num_burnin_steps": 4, "num_steps_bw_draws": 2}
SAMPLING |= {"num_chains": 2, "num_draws": 10, "batch_size": 8, "init_seed": 100}


def raw_estimate(draws):
    return learning_coefficient(draws)["llc_raw"].values


@pytest.mark.parametrize(
    "whole", [some_draws, lambda: with_example_losses(some_draws())], ids=["plain", "with_examples"]
)
def test_draws_come_back_from_their_trees_bit_by_bit(whole):
    draws = whole()
    trees = [to_devinterp(draws, step=step) for step in draws["step"].values]
    for _ in range(2):  # reading a tree leaves it as it is
        xr.testing.assert_identical(xr.concat([from_devinterp(tree) for tree in trees], dim="step"), draws)


def test_one_checkpoint_needs_no_step_and_its_tree_has_devinterps_names_and_dimensions():
    draws = with_example_losses(some_draws()).isel(step=[1])
    tree = to_devinterp(draws)
    assert {name: tree[name].dims for name in tree.data_vars} == {
        "init_loss": ("chain", "token_pos"),
        "sampling_loss_micro": ("chain", "step", "batch_sampling", "token_pos"),
        "sampling_loss": ("chain", "draw", "batch", "token_pos"),
        "loss_train": ("chain", "draw", "batch_train", "token_pos"),
        "loss_test": ("chain", "draw", "batch_test", "token_pos"),
        "input_ids_train": ("batch_train", "token"),
        "input_ids_test": ("batch_test", "token"),
    }
    assert tree["sampling_loss"].values[:, :, 0, 0].tolist() == draws["loss"].values[0, :, [0, 3, 6]].T.tolist()
    assert tree["input_ids_test"].values.tolist() == [[1, 1], [3, 3], [5, 5], [7, 7]]


def test_a_tree_survives_devinterps_own_file_format(tmp_path):
    draws = with_example_losses(some_draws()).isel(step=[2])
    path = tmp_path / "samples.zarr"
    to_devinterp(draws).to_zarr(path, consolidated=False)
    xr.testing.assert_identical(from_devinterp(xr.open_datatree(path, engine="zarr", consolidated=False).load()), draws)


def test_a_chain_that_left_the_numbers_is_left_out_whole():
    draws = some_draws()
    draws["loss"][0, 1, 4:] = np.inf
    loss = to_devinterp(draws, step=0)["sampling_loss_micro"]
    assert np.isnan(loss[1]).all()
    assert np.isfinite(loss[0]).all()


def test_several_checkpoints_are_asked_for_one():
    with pytest.raises(DeviError, match=r"of 3 checkpoints \(steps 0, 10, 200\).*to_devinterp\(draws, step=200\)"):
        to_devinterp(some_draws())
    with pytest.raises(DeviError, match=r"no draws at step 7; expected one of: 0, 10, 200"):
        to_devinterp(some_draws(), step=7)


def test_a_tree_of_something_else_is_refused():
    with pytest.raises(
        DeviError, match=r"no sampling tree of devinterp 2: .*Expected what devinterp.slt.sampling.sample"
    ):
        from_devinterp(xr.DataTree(xr.Dataset({"theta": ("draw", [1.0])})))


@pytest.mark.slow  # 4 s of imports
@pytest.mark.parametrize("batch_size", [0, 16])
def test_devinterps_compute_llc_gives_our_raw_estimate(batch_size):
    from devinterp.slt.llc import compute_llc

    draws = some_draws(batch_size=batch_size)
    theirs = [compute_llc(to_devinterp(draws, step=step)) for step in draws["step"].values]
    np.testing.assert_allclose([float(one.llc_mean) for one in theirs], raw_estimate(draws), rtol=1e-12)
    np.testing.assert_allclose([float(one.llc_scalar) for one in theirs], raw_estimate(draws), rtol=1e-12)
    per_chain = 100 * (draws["loss"] - draws["base_loss"]).mean("draw")
    np.testing.assert_allclose([one.llc_per_chain for one in theirs], per_chain, rtol=1e-10)


@pytest.mark.slow  # 4 s of imports
def test_devinterps_influences_are_the_correlations_of_our_example_losses():
    from devinterp.slt.bif import compute_bif

    draws = with_example_losses(some_draws()).isel(step=[1])
    values = draws["example_loss"].values[0].reshape(6, 5)  # (chain and draw, example)
    for method in ("sequence", "token"):
        found = compute_bif(to_devinterp(draws), correlation_method=method, loss_keys=["train"])
        np.testing.assert_allclose(found["influences"].squeeze(), np.corrcoef(values.T), atol=1e-6)
    assert compute_bif(to_devinterp(draws))["influences"].shape == (9, 9, 1, 1)  # both data sets


@pytest.mark.slow  # 4 s of imports
def test_devinterps_susceptibilities_are_those_of_our_example_losses():
    """χ_i = −Cov(φ, ℓ_i − L) over the restricted draws, with φ its loss above the checkpoint's and L the mean of ℓ."""
    from devinterp.slt.susceptibilities import compute_susceptibilities

    full, part = (with_example_losses(some_draws(seed=seed)).isel(step=[1]) for seed in (0, 1))
    trees = {"full": to_devinterp(full), "head": to_devinterp(part)}
    found = compute_susceptibilities(trees, "train")["susceptibilities"].to_dataset()["sus"].values[:, 0]
    loss, probe = (part[name].values[0].astype(float).reshape(6, -1) for name in ("example_loss", "example_loss_test"))
    mean = loss.mean(axis=1)  # (draw,)
    phi = mean - part["base_loss"].item()
    reference = full["example_loss"].values.mean() - full["example_loss_test"].values[0].mean(axis=(0, 1))
    expected = (phi * mean).mean() - (phi[:, None] * probe).mean(axis=0) - phi.mean() * reference
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


class TheirNoise:
    """The normal numbers of devinterp's chains: torch's global generator, seeded with init_seed + chain."""

    def __init__(self, seed, keys, width, like):
        self.generators = [torch.Generator().manual_seed(SAMPLING["init_seed"] + chain) for _, chain in keys]
        self.like = like

    def next(self):
        return torch.stack([torch.normal(0.0, 1.0, size=self.like.shape[1:], generator=g) for g in self.generators])


@pytest.fixture(scope="module")
def devinterps_tree(tmp_path_factory):
    """devinterp's own sampling of ½·Σ w² + (a loss of the example), 5 weights, all 8 examples in a batch."""
    import random

    from datasets import Dataset
    from devinterp.slt.sampling import sample

    data = Dataset.from_dict({"input_ids": [[i, i] for i in range(8)]}).with_format("torch")

    def loss(model, ids):
        return 0.5 * (model.w**2).sum() + 0.1 * ids[:, 1:].float()  # (batch, token_pos)

    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - devinterp seeds the global generators
    with torch.random.fork_rng():
        tree = sample(
            Monomials((2,) * 5).model(),
            data,
            {"train": data},
            batches_per_draw=1,
            loss_fn=loss,
            save_metrics=True,
            device="cpu",
            output_path=tmp_path_factory.mktemp("devinterp") / "samples.zarr",
            **SAMPLING,
        )
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    return tree.load()


@pytest.mark.slow  # 4 s of imports
def test_devinterps_own_chains_and_their_health_are_those_of_our_walk_given_the_same_noise(
    devinterps_tree, monkeypatch
):
    monkeypatch.setattr("devi.sampling.chunk.Noise", TheirNoise)
    monkeypatch.setattr("devi.sampling.record.VISIT_EVERY", 1)
    sizes = {"step_size": SAMPLING["lr"], "n_beta": 30.0, "localization": 5.0, "burn_in": 4, "batch_size": 0}
    ours = some_quadratic_draws(**sizes, draws=20, chains=2)
    found = from_devinterp(devinterps_tree, step=7)
    assert found["step"].values.tolist() == [7]
    assert found["loss"].shape == (1, 2, 20)  # burn-in dropped, every step after it kept
    excess = [(draws["loss"] - draws["base_loss"]).values for draws in (found, ours)]
    np.testing.assert_allclose(*excess, atol=1e-6)
    for name in ("virial_loss", "virial_localization", "step_bias", "heat"):
        np.testing.assert_allclose(found[name], ours[name], rtol=1e-4, atol=1e-6)
    # ours has a group for each of the 5 weights
    np.testing.assert_allclose(found["stein"].sum("group"), ours["stein"].sum("group"), rtol=1e-4, atol=1e-4)
    assert found.attrs["dimension"] == 5


def some_quadratic_draws(**settings):
    from devi.sampling.sample import sample

    return sample(Monomials((2,) * 5, examples=8).run(), **settings)


@pytest.mark.slow  # 4 s of imports
def test_devinterps_own_tree_gives_its_own_estimate_with_burn_in_dropped(devinterps_tree):
    from devinterp.slt.llc import compute_llc

    found = from_devinterp(devinterps_tree)
    without = devinterps_tree.isel(step=slice(4, None))
    np.testing.assert_allclose(raw_estimate(found), float(compute_llc(without).llc_mean), rtol=1e-4)
    assert found["example_loss_train"].shape == (1, 2, 10, 8)
    assert found["kept_draw"].values.tolist() == list(range(0, 20, 2))
    estimates = learning_coefficient(found)
    assert np.isfinite(estimates["llc_se"]).all()
    assert np.isfinite(estimates["llc_virial"]).all()


@pytest.mark.slow  # 4 s of imports
def test_without_devinterps_metrics_the_virials_are_unknown_and_the_estimate_is_the_raw_one(devinterps_tree):
    root = devinterps_tree.to_dataset()
    bare = root.drop_vars([name for name in root.data_vars if name.startswith("metrics_")])
    found = from_devinterp(xr.DataTree(bare))
    assert np.isnan(found["virial_loss"]).all()
    assert np.isnan(found["virial_localization"]).all()
    assert (found["step_bias"] == 0).all()
    assert learning_coefficient(found)["llc"].values == raw_estimate(from_devinterp(devinterps_tree))
    assert learning_coefficient(found)["llc_step_bias"].values == 0
