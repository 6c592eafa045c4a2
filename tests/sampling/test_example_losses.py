import pickle

import numpy as np
import pytest
import torch
import xarray as xr

from devi.errors import DeviError
from devi.known.regression import Regression
from devi.sampling.example_losses import ExampleLosses, check_size, encoding, rounded
from devi.sampling.posterior import Posterior
from devi.sampling.watch import Watch
from devi.task import Batch


def visited(draws, *, most=8, at_once=1000, data=None):
    """Losses kept of a walk of two replicas whose weights are the draw's number everywhere, and less by 1."""
    posterior = Posterior(Regression(3, examples=50).run())
    kept = ExampleLosses(posterior.data if data is None else data, most, at_once)
    for draw in range(draws):
        position = torch.tensor([[float(draw)], [draw - 1.0]]).expand(2, 3)
        kept.visit(draw, posterior, position, posterior.fixed_at(torch.tensor([0, 0])))
    return posterior, kept


def test_what_is_kept_is_the_loss_of_every_example_at_the_draws_position():
    posterior, kept = visited(4)
    inputs, targets = posterior.data
    assert kept.draws == [0, 1, 2, 3]
    assert kept.stacked().shape == (2, 4, 50)
    for draw in range(4):
        for replica in range(2):
            expected = 0.5 * ((draw - replica) * inputs.sum(1) - targets).square()
            np.testing.assert_allclose(kept.stacked()[replica, draw], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("draws", [1, 8, 9, 16, 17, 100, 1000])
def test_a_walk_of_any_length_leaves_evenly_spaced_draws_in_bounded_memory(draws):
    kept = visited(draws)[1]
    assert kept.draws == list(range(0, draws, kept.spacing))
    assert min(draws, 4) <= len(kept.draws) <= 8
    assert kept.stacked().dtype == np.float32
    assert kept.stacked().nbytes <= 4 * 2 * 8 * 50


def test_the_number_of_examples_in_a_pass_changes_nothing():
    np.testing.assert_allclose(visited(3, at_once=7)[1].stacked(), visited(3)[1].stacked(), rtol=1e-6)


def test_other_examples_than_the_training_set_can_be_observed():
    data = Batch(torch.ones(2, 3), torch.tensor([0.0, 3.0]))
    np.testing.assert_allclose(visited(2, data=data)[1].stacked()[0], [[0.0, 4.5], [4.5, 0.0]])


def test_too_many_losses_are_refused_before_sampling_with_a_number_that_fits():
    check_size(checkpoints=64, chains=4, most=50, examples=4096)
    with pytest.raises(
        DeviError, match=r"4096 examples at 500 draws of 4 chains at 64 checkpoints take 2000 MiB.*--keep-losses 128"
    ):
        check_size(checkpoints=64, chains=4, most=500, examples=4096)


def test_rounding_is_to_nearest_keeps_what_is_exact_and_what_is_not_a_number():
    exact = np.array([0.0, 1.0, -1.5, 0.75, 1e-30, np.inf, -np.inf, np.nan, 1 + 2**-12], dtype=np.float32)
    np.testing.assert_array_equal(rounded(exact)[[0, 1, 2, 3, 5, 6, 7, 8]], exact[[0, 1, 2, 3, 5, 6, 7, 8]])
    values = np.random.default_rng(0).lognormal(size=100_000).astype(np.float32)
    error = rounded(values) / values.astype(np.float64) - 1
    assert np.abs(error).max() <= 2.0**-13
    assert abs(error.mean()) < 2.0**-13 / np.sqrt(3 * 100_000) * 4  # unbiased: 4 errors, 1 in 15,000, seeded
    assert (rounded(values).view(np.uint32) & np.uint32(0x7FF) == 0).all()


def test_a_rounded_file_takes_less_than_70_percent_and_reads_back_the_same(tmp_path):
    values = np.random.default_rng(0).lognormal(size=(3, 2, 10, 5000)).astype(np.float32)
    sizes = []
    for name, some in (("whole", values), ("rounded", rounded(values))):
        data = xr.Dataset({"example_loss": (("step", "chain", "kept_draw", "example"), some)})
        path = tmp_path / f"{name}.h5"
        data.to_netcdf(path, engine="h5netcdf", encoding={"example_loss": encoding(some.shape)})
        with xr.open_dataset(path, engine="h5netcdf") as back:
            np.testing.assert_array_equal(back["example_loss"], some)
        sizes.append(path.stat().st_size)
    assert sizes[1] < 0.7 * sizes[0]


def test_data_are_not_sent_along_with_what_was_watched_and_are_shared_again():
    data = Batch(torch.zeros(10_000, 100), torch.zeros(10_000))
    before = Watch(examples=ExampleLosses(data, 5, 10), observed={"test": data}, at_once=10, visit_every=1)
    sent = pickle.dumps(before)
    assert len(sent) < 10_000
    after = pickle.loads(sent)
    after.take_up(before)
    assert after.observed["test"] is data
    assert after.examples.data is data
