import dataclasses
import json
import re

import numpy as np
import pytest
import torch
import xarray as xr

from devi.analysis import Analysis
from devi.cache import Cache
from devi.errors import DeviError
from devi.known.monomials import Monomials
from devi.known.regression import Regression
from devi.metrics.learning_coefficient import LearningCoefficient
from devi.sampling import calibration
from devi.task import Batch, settings_of, with_settings
from devi.transitions.curves import curves_of

SHORT = LearningCoefficient(
    chains=4, draws=400, burn_in=100, step_size=2e-3, n_beta=100.0, localization=0.5, batch_size=0
)


class WithTest(Regression):
    """A test split of other inputs: L_test has another Hessian."""

    def data(self, split):
        if split == "train":
            return super().data("train")
        generator = torch.Generator().manual_seed(9)
        inputs = 2 * torch.randn(500, self.dimension, generator=generator)
        return Batch(inputs, inputs.sum(1))


def test_restricted_to_all_parameters_the_coefficient_is_the_full_one_bit_for_bit():
    for metric in (SHORT, LearningCoefficient(sampler="hmc", draws=40, burn_in=40, chains=2)):
        found = dataclasses.replace(metric, restrict=("weight", "*[0]")).over(Regression(3).run(2))
        for name in ("llc", "llc_se", "llc_rhat", "llc_headroom", "llc_flags"):
            for column in range(2):
                np.testing.assert_array_equal(found[f"restricted_{name}"][:, column], found[name])


def test_a_restricted_estimate_stands_beside_the_full_one_and_does_not_change_it():
    run = Monomials((2,) * 4).run(2)
    alone, both = SHORT.over(run), dataclasses.replace(SHORT, restrict=("w[0]", "w[0:3]")).over(run)
    for name in alone.data_vars:
        np.testing.assert_array_equal(alone[name], both[name])
    assert both["restricted_llc"].dims == ("step", "restriction")
    assert both["restriction"].values.tolist() == ["w[0]", "w[0:3]"]
    assert json.loads(both.attrs["restricted_dimension"]) == {"w[0]": 1, "w[0:3]": 3}
    searched = {name for name in both.data_vars if both[name].attrs.get("detect", 1)}
    assert {name for name in searched if str(name).startswith("restricted")} == {"restricted_llc"}
    assert both["llc_gradients"].values.tolist() == [4 * 500] * 2
    assert both["restricted_llc_gradients"].values.tolist() == [[4 * 500] * 2] * 2


def test_restricted_coefficients_are_searched_for_transitions_under_their_names():
    steps = np.arange(20)
    values = np.stack([np.where(steps < 10, 1.0, 5.0), np.where(steps < 10, 1.0, 3.0)], axis=1)
    result = xr.Dataset(
        {"restricted_llc": (("step", "restriction"), values)}, coords={"step": steps, "restriction": ["a*", "b*"]}
    )
    curves, skipped = curves_of(result)
    assert [curve.name for curve in curves] == ["restricted_llc[0]", "restricted_llc[1]"]
    assert skipped == []


@pytest.mark.slow
def test_a_quadratic_of_twenty_parameters_restricted_to_k_has_k_halves():
    """Within 4 errors or 2%: three estimates, a false alarm in 5,000 if normal."""
    found = LearningCoefficient(restrict=("weight", "w*")).over(Regression(20).run())
    assert found["restricted_llc"].values.tolist() == [[found["llc"].item()] * 2]
    run = Monomials((2,) * 20).run()
    found = LearningCoefficient(restrict=("w[0:5]", "w[3,7,9]", "w[10:]")).over(run)
    for column, truth in enumerate((2.5, 1.5, 5.0)):
        value, error = (found[name][0, column].item() for name in ("restricted_llc", "restricted_llc_se"))
        assert abs(value - truth) < max(4 * error, 0.02 * truth)
        assert error < 0.05 * truth
        assert found["restricted_llc_flags"][0, column].item() == ""


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["sgld", "hmc"])
def test_monomials_restricted_to_some_have_the_sum_of_their_inverse_powers(sampler):
    """λ = 1/2 + 1/4 of six; within 4 errors or 10%, the bias of the finite nβ of a fourth power."""
    run = Monomials((2, 2, 4, 4, 2, 2), examples=10000).run()
    found = LearningCoefficient(sampler=sampler, restrict=("w[1:3]",)).over(run)
    value, error = (found[name].item() for name in ("restricted_llc", "restricted_llc_se"))
    assert abs(value - 0.75) < max(4 * error, 0.075)
    assert error < 0.05


def test_a_restriction_that_matches_nothing_is_told_before_anything_is_sampled():
    with pytest.raises(DeviError, match="--restrict 'embed': no parameter is called 'embed'"):
        LearningCoefficient(restrict=("embed",)).resolved(Regression(3).run())


def test_losses_observed_on_the_data_that_are_sampled_are_the_estimate():
    found = dataclasses.replace(SHORT, observe=("train",)).over(Regression(3).run(2))
    assert found["observed_excess"].dims == ("step", "observed")
    # of every fourth draw, which in 400 correlated ones says the same within their errors
    own = found["llc_raw"].values / 100.0
    assert (np.abs(found["observed_excess"][:, 0] - own) < found["observed_excess_se"][:, 0]).all()


def test_a_chain_that_cannot_move_observes_an_excess_of_0():
    still = dataclasses.replace(SHORT, step_size=0.0, draws=20, most_draws=20, observe=("train", "test"))
    found = still.over(WithTest(3).run())
    np.testing.assert_allclose(found["observed_excess"], 0, atol=1e-6)


@pytest.mark.slow
def test_the_loss_observed_on_other_data_is_the_exact_gaussian_expectation():
    """E[L_test(w)] − L_test(w*) = ½ tr(H_test (nβ·H + γ)⁻¹); within 4 errors: a false alarm in 15,000 if normal."""
    task = WithTest(4)
    metric = LearningCoefficient(sampler="hmc", n_beta=100.0, localization=0.5, observe=("test",), draws=4000)
    found = metric.over(task.run())
    hessians = [
        d.inputs.double().T @ d.inputs.double() / len(d.inputs) for d in (task.data("train"), task.data("test"))
    ]
    exact = 0.5 * torch.trace(hessians[1] @ torch.linalg.inv(100 * hessians[0] + 0.5 * torch.eye(4))).item()
    value, error = found["observed_excess"].item(), found["observed_excess_se"].item()
    assert abs(value - exact) < 4 * error
    assert error < 0.03 * exact


def test_n_beta_says_which_n_it_came_from():
    metric = LearningCoefficient(chains=2, draws=20, burn_in=10, sample_on="test")
    ready = metric.resolved(WithTest(3).run())
    assert ready.n_beta == pytest.approx(500 / np.log(500))
    assert ready.reasons["n_beta"] == "n / log n with n = 500 test examples"
    assert ready.reasons["n"] == "500 test examples, which nβ counts"
    assert SHORT.resolved(Regression(3).run()).reasons["n"] == "1000 training examples, which nβ counts"
    assert metric.over(WithTest(3).run()).attrs["sampled_on"] == "test"


def test_restrictions_share_n_beta_and_have_settings_of_their_own():
    run = Regression(6, condition=100.0).run()
    ready = LearningCoefficient(chains=2, draws=20, burn_in=20, restrict=("weight[0]",)).resolved(run)
    assert ready.restricted["weight[0]"]["n_beta"] == ready.n_beta
    again = with_settings(LearningCoefficient, json.loads(json.dumps(settings_of(ready))), kind="metric")
    assert again == ready
    assert again.resolved(run) is again


def test_a_budget_is_stored_as_draws_and_split_among_the_restrictions():
    run = Monomials((2,) * 4).run()
    alone = LearningCoefficient(chains=2, budget="20s").resolved(run)
    assert alone.budget == 20
    assert alone.most_draws >= alone.draws
    (left,) = re.findall(r"^what ([\d.]+) s of sampling are enough for", alone.reasons["most_draws"])
    assert 0 < float(left) < 20  # calibration took the rest
    fixed = dataclasses.replace(alone, restrict=(), draws=30, most_draws=30)
    assert fixed.resolved(run) is fixed  # decided once, it does not look at the clock again
    assert "gradients" in alone.outlook(run)
    assert "about" in alone.outlook(run)


@pytest.mark.parametrize(
    ("settings", "seconds", "told"),
    [
        ({}, 30, "choosing the sampler's settings by short walks takes roughly 30 s"),
        ({"restrict": ("weight[0]",)}, 150, "choosing the sampler's settings by short walks takes roughly 5 min"),
        ({"budget": "20s"}, 900, "choosing the sampler's settings by short walks takes roughly 10 s"),
        ({}, 3, ""),
    ],
)
def test_a_calibration_that_takes_long_is_told_before_it_starts(settings, seconds, told, monkeypatch):
    monkeypatch.setattr(calibration, "outlook", lambda run, **where: seconds)
    assert LearningCoefficient(**settings).preparation(Monomials((2,) * 4).run()) == told
    assert SHORT.preparation(Monomials((2,) * 4).run()) == ""


def test_gradients_are_timed_to_say_how_long_a_calibration_takes():
    assert 0 < calibration.outlook(Monomials((2,) * 4).run()) < np.inf


def test_kept_losses_are_stored_compressed_with_the_draws_they_are_from(tmp_path):
    run = Monomials((2, 2), examples=50).run(3)
    metric = dataclasses.replace(SHORT, keep_losses=6)
    blocks = [metric.over(run.block(start, end)) for start, end in ((0, 2), (2, 3))]
    both = xr.concat(blocks, dim="step", data_vars="all", combine_attrs="override")
    assert both["example_loss"].dims == ("step", "chain", "kept_draw", "example")
    assert both["example_draw"][0].values.tolist() == [0, 128, 256, 384]  # at most 6 of 400, spaced by a power of 2
    Analysis(both, [], [], [], {}, {}).save(tmp_path)
    with xr.open_dataset(tmp_path / "analysis.h5", engine="h5netcdf") as stored:
        np.testing.assert_array_equal(stored["example_loss"], both["example_loss"])
        assert stored["example_loss"].encoding["zlib"]


def test_more_losses_than_fit_are_refused_before_anything_is_sampled():
    with pytest.raises(DeviError, match="--keep-losses"):
        LearningCoefficient(keep_losses=10**6).resolved(Regression(3).run())


def test_a_result_on_the_users_own_data_is_not_taken_from_the_cache_when_these_change(tmp_path, monkeypatch):
    import devi.plugins as plugins

    path, run = tmp_path / "own.py", Regression(3).run(2)
    run.digests = np.zeros((2, 16), np.uint8)
    names = set()
    for value in (1.0, 2.0, 1.0):
        made = f"Batch(torch.ones(4, 3), {value} * torch.ones(4))"
        path.write_text(f"import torch\nfrom devi import Batch\ndef far():\n    return {made}\n")
        for name in [name for name in plugins.sys.modules if name.startswith(plugins._FILE_MODULE + "own")]:
            monkeypatch.delitem(plugins.sys.modules, name)
        metric = dataclasses.replace(SHORT, observe=(f"{path}:far",))
        names.add(Cache(tmp_path / "cache").block(metric, run).name)
    assert len(names) == 2
