import arviz_stats
import numpy as np
import pytest
import xarray as xr

from devi.errors import DeviError
from devi.metrics.learning_coefficient import learning_coefficient
from devi.sampling.interchange import from_arviz, to_arviz
from tests.sampling.interchange.some_draws import some_draws, with_example_losses


@pytest.mark.parametrize("keep_examples", [False, True])
def test_draws_come_back_from_their_tree_bit_by_bit(keep_examples):
    draws = with_example_losses(some_draws()) if keep_examples else some_draws()
    xr.testing.assert_identical(from_arviz(to_arviz(draws)), draws)


def test_numbers_that_chains_and_draws_have_are_kept():
    draws = some_draws().assign_coords(chain=[3, 1], draw=np.arange(10, 19))
    assert to_arviz(draws)["posterior"]["chain"].values.tolist() == [3, 1]
    xr.testing.assert_identical(from_arviz(to_arviz(draws)), draws)


def test_a_tree_survives_a_netcdf_file(tmp_path):
    draws = with_example_losses(some_draws())
    to_arviz(draws).to_netcdf(tmp_path / "draws.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "draws.nc", engine="h5netcdf") as tree:
        back = from_arviz(tree.load())
    xr.testing.assert_equal(back, draws)
    assert back.attrs == draws.attrs


def test_the_posterior_mean_is_the_raw_estimate_of_every_checkpoint():
    draws = some_draws()
    found, tree = learning_coefficient(draws), to_arviz(draws)
    assert tree["posterior"]["llc_draw"].dims == ("chain", "draw", "step")
    mean = tree["posterior"]["llc_draw"].mean(("chain", "draw"))
    np.testing.assert_allclose(mean, found["llc_raw"], rtol=1e-12)


def test_draws_that_are_not_finite_are_arvizs_divergences():
    draws = some_draws()
    draws["loss"][1, 0, 5:] = np.nan
    diverging = to_arviz(draws)["sample_stats"]["diverging"]
    assert int(diverging.sum()) == 4
    assert diverging.sel(chain=0, step=10, draw=slice(5, None)).all()


def test_arviz_reads_the_tree_and_finds_our_diagnostics():
    draws = some_draws(draws=60)
    found, tree = learning_coefficient(draws), to_arviz(draws)
    np.testing.assert_allclose(arviz_stats.rhat(tree)["llc_draw"], found["llc_rhat"])
    np.testing.assert_allclose(arviz_stats.ess(tree, method="mean")["llc_draw"], found["llc_ess"])
    assert list(arviz_stats.summary(tree, round_to="none").index) == [f"llc_draw[{step}]" for step in (0, 10, 200)]


def test_another_samplers_tree_is_refused():
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"mu": (("chain", "draw"), np.zeros((2, 3)))})})
    with pytest.raises(
        DeviError, match=r"no groups sample_stats and devi \(it has: posterior\); expected one that to_arviz"
    ):
        from_arviz(tree)
