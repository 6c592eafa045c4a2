"""The sampler `devinterp`, and example losses kept, through the front door."""

import numpy as np
import pytest

from devi.known.monomials import Monomials
from devi.known.regression import Regression
from devi.metrics.learning_coefficient import LearningCoefficient, learning_coefficient
from devi.sampling.interchange import to_devinterp
from devi.sampling.sample import sample

FIXED = {"chains": 2, "burn_in": 5, "step_size": 1e-4, "n_beta": 100.0, "localization": 1.0, "batch_size": 0}


@pytest.mark.slow
def test_devinterps_chains_have_the_mean_and_the_health_of_sglds():
    """Two estimates of one mean, each with its error; false alarms at 4 errors: 1 in 15,000. False health: 1 in 100."""
    settings = {
        "n_beta": 100.0,
        "localization": 5.0,
        "batch_size": 0,
        "burn_in": 100,
        "draws": 800,
        "chains": 4,
        "step_size": 3e-3,
    }
    run = Monomials((2,) * 6, examples=16).run()
    ours, theirs = (learning_coefficient(sample(run, name, **settings)) for name in ("sgld", "devinterp"))
    for name in ("llc_raw", "llc_virial", "llc_step_bias"):
        np.testing.assert_allclose(theirs[name], ours[name], rtol=0.12)
    error = np.hypot(ours["llc_se"], theirs["llc_se"])
    assert (np.abs(ours["llc"] - theirs["llc"]) < 4 * error).all()
    assert (error < 0.1).all()
    assert theirs["llc_flags"].values.tolist() == [""]


def test_the_metric_takes_devinterp_as_its_sampler():
    metric = LearningCoefficient(sampler="devinterp", draws=8, most_draws=8, **FIXED)
    found = metric.over(Regression(3, examples=32).run(2))
    assert found.attrs["sampler"] == "devinterp"
    assert np.isfinite(found["llc"]).all()


@pytest.mark.parametrize("name", ["sgld", "devinterp", "hmc"])
def test_example_losses_kept_along_the_chains_average_to_the_loss_of_their_draw(name):
    draws = sample(Regression(3, examples=32).run(2), name, draws=10, keep_losses=6, **FIXED)
    assert draws["example_loss"].dims == ("step", "chain", "kept_draw", "example")
    assert draws["kept_draw"].values.tolist() == [0, 2, 4, 6, 8]
    mean = draws["example_loss"].mean("example")
    np.testing.assert_allclose(mean, draws["loss"].values[:, :, ::2], rtol=2e-4)
    assert to_devinterp(draws, step=1)["loss_train"].shape == (2, 5, 32, 1)
