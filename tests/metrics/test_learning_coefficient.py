import dataclasses
import json

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from devi.errors import Notice
from devi.known.cases import named
from devi.known.memory_run import MemoryRun
from devi.known.monomials import Monomials, Product, SurfaceTask
from devi.known.regression import Regression
from devi.metrics.learning_coefficient import CALIBRATED, LearningCoefficient, learning_coefficient
from devi.metrics.norms import Norms
from devi.task import settings_of, with_settings

SHORT = LearningCoefficient(
    chains=4, draws=400, burn_in=100, step_size=2e-3, n_beta=100.0, localization=0.5, batch_size=0
)


def test_a_chain_that_cannot_move_has_an_llc_of_exactly_0():
    still = LearningCoefficient(**{**{n: getattr(SHORT, n) for n in CALIBRATED}, "step_size": 0.0, "draws": 20})
    found = still.over(Regression(3).run())
    assert found["llc"].item() == 0
    assert found["llc_se"].item() == 0
    assert found["llc_flags"].item() == "virial"


@dataclasses.dataclass(frozen=True)
class Lifted(Regression):
    by: float = 0.0

    def loss(self, outputs, targets):
        return self.by + super().loss(outputs, targets)


def test_a_loss_too_large_for_float32_to_show_its_differences_is_told_of_and_float64_keeps_the_estimate():
    bare, lifted = (Lifted(3, by=by) for by in (0.0, 1e8))
    exact = dataclasses.replace(SHORT, dtype="float64")
    with pytest.warns(Notice, match=r"The loss is 1e\+08 at training step 0: .*Take --dtype float64"):
        SHORT.over(lifted.run())
    np.testing.assert_allclose(exact.over(lifted.run())["llc"], exact.over(bare.run())["llc"], rtol=1e-3)
    little = Lifted(3, by=1e4).run()  # no notice
    np.testing.assert_allclose(SHORT.over(little)["llc"], SHORT.over(bare.run())["llc"], rtol=0.01)


@dataclasses.dataclass(frozen=True)
class Unfelt(SurfaceTask):
    examples: int = 100
    dimension = 3

    def value(self, w):
        return 0 * w.sum()


@pytest.mark.parametrize("sampler", ["sgld", "hmc"])
def test_parameters_that_the_loss_does_not_feel_have_a_coefficient_of_0(sampler):
    found = LearningCoefficient(sampler=sampler, chains=4, draws=20, burn_in=200).over(Unfelt().run())
    assert found["llc"].values.tolist() == [0.0]
    assert np.isfinite(found["llc_trace"]).all()
    if sampler == "sgld":  # what heats a direction that only γ holds
        assert found.attrs["step_size"] * found.attrs["localization"] / 4 < 0.1


@pytest.mark.parametrize("sampler", ["sgld", "hmc"])
def test_without_localization_there_is_a_headroom_too(sampler):
    run = MemoryRun(Monomials((2, 2)), {"w": np.float32([[1, 1]])})
    found = dataclasses.replace(SHORT, sampler=sampler, localization=0.0).over(run)
    assert found["llc_headroom"].values == pytest.approx([100.0])


def test_every_variable_is_labelled_and_the_settings_are_attributes():
    found = SHORT.over(Monomials().run(2))
    assert set(found.data_vars) == set(LearningCoefficient.gives)
    for variable in found.data_vars.values():
        assert {"units", "long_name", "source"} <= set(variable.attrs)
    assert found["llc_trace"].dims == ("step", "chain", "draw")
    assert found["llc_trace"].dtype == np.float32
    assert found.attrs["n_beta"] == 100.0


def test_the_trace_keeps_evenly_spaced_draws_and_the_estimate_uses_all_of_them():
    whole = dataclasses.replace(SHORT, trace_draws=1000).over(Monomials().run())
    thin = dataclasses.replace(SHORT, trace_draws=5).over(Monomials().run())
    assert whole["draw"].values.tolist() == list(range(400))
    assert thin["draw"].values.tolist() == [0, 100, 200, 299, 399]
    np.testing.assert_array_equal(thin["llc_trace"], whole["llc_trace"].sel(draw=thin["draw"]))
    assert thin["llc"].item() == whole["llc"].item()
    assert whole["llc_raw"].item() == pytest.approx(whole["llc_trace"].mean().item(), rel=1e-5)


def test_the_virials_parts_add_up_to_it():
    found = SHORT.over(Regression(3).run(2))
    parts = found["llc_virial_loss"] + found["llc_virial_localization"]
    np.testing.assert_allclose(parts, found["llc_virial"], rtol=1e-6)
    np.testing.assert_allclose(found["llc_virial_by_parameter"].sum("parameter"), found["llc_virial_loss"], rtol=1e-6)
    for name in ("llc_virial_loss", "llc_virial_localization", "llc_virial_by_parameter"):
        assert found[name].attrs["detect"] == 0


class Offset(nn.Module):
    """Outputs w plus an offset that is not trained."""

    def __init__(self):
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(2), requires_grad=False)
        self.w = nn.Parameter(torch.zeros(2))

    def forward(self, inputs):
        return (self.offset + self.w).square().sum().expand(len(inputs))


class WithOffset(Monomials):
    def model(self):
        return Offset()


def test_a_frozen_parameter_has_no_virial_and_keeps_its_place_beside_the_norms():
    run = MemoryRun(WithOffset(), {"offset": np.zeros((1, 2), np.float32), "w": np.zeros((1, 2), np.float32)})
    found = SHORT.over(run)
    assert found["parameter"].values.tolist() == ["offset", "w"]
    assert np.isnan(found["llc_virial_by_parameter"].values).tolist() == [[True, False]]
    together = xr.merge([found, Norms().over(run)], join="exact", compat="no_conflicts", combine_attrs="drop_conflicts")
    assert together["layer_norms"].dims == together["llc_virial_by_parameter"].dims


def drawn(step_bias, *, loss=None, stein=None):
    """Draws of four chains at one checkpoint, made up: the loss is noise of the same kind in each."""
    if loss is None:
        loss = 0.05 + np.random.default_rng(0).standard_normal((1, 4, 500)) * 0.01
    visits = loss.shape[2]
    zeros = np.zeros((1, 4))
    bias = np.broadcast_to(np.reshape(step_bias, (1, 4, 1)), (1, 4, visits))
    stein = np.full((1, 4, visits, 1), 5.0) if stein is None else stein  # out of balance: no control variates
    return xr.Dataset(
        {
            "loss": (("step", "chain", "draw"), loss),
            "base_loss": (("step",), [0.0]),
            "step_bias": (("step", "chain", "visit"), bias),
            "heat": (("step", "chain", "visit"), 0 * bias),
            "stein": (("step", "chain", "visit", "group"), stein),
            "virial_loss": (("step", "chain"), zeros + 1),
            "virial_localization": (("step", "chain"), zeros),
            "virial_by_parameter": (("step", "parameter"), [[1.0]]),
        },
        coords={"step": [0], "parameter": ["w"], "draw": range(visits), "visit": range(visits)},
        attrs={"n_beta": 100.0, "step_size": 0.1, "dimension": 1, "is_adjusted": 1},
    )


def test_out_of_balance_the_raw_estimate_is_the_corrected_one_plus_the_step_bias():
    found = learning_coefficient(drawn([0.2, 0.2, 0.2, 0.2]))
    assert (found["llc"] + found["llc_step_bias"]).item() == pytest.approx(found["llc_raw"].item(), rel=1e-12)
    assert found["llc_raw"].item() == pytest.approx(found["llc_trace"].mean().item(), rel=1e-5)
    assert "corrected for the step size" in found["llc"].attrs["long_name"]


def test_the_error_counts_what_the_step_correction_differs_by_between_chains():
    same, apart = (learning_coefficient(drawn(bias)) for bias in ([0.2] * 4, [0.0, 1.0, 2.0, 3.0]))
    alike = learning_coefficient(drawn([0.0] * 4))
    assert same["llc_se"].item() == pytest.approx(alike["llc_se"].item(), rel=1e-12)
    assert apart["llc_se"].item() == pytest.approx(np.std(range(4), ddof=1) / 2, rel=0.1)


def test_an_unadjusted_sampler_adds_a_quarter_of_its_correction_to_the_error():
    draws = drawn([4.0] * 4)
    draws.attrs["is_adjusted"] = 0
    exact = learning_coefficient(drawn([4.0] * 4))["llc_se"].item()
    assert learning_coefficient(draws)["llc_se"].item() == pytest.approx(np.hypot(exact, 1.0), rel=1e-12)


def test_control_variates_in_balance_take_the_noise_that_they_explain():
    """nβL = 5 + 2·f + a tenth of the noise, with f of mean 0. The noise goes; the error told is halved at most."""
    generator = np.random.default_rng(1)
    stein = generator.standard_normal((1, 4, 2000, 1))
    loss = (5 + 2 * stein[..., 0] + 0.2 * generator.standard_normal((1, 4, 2000))) / 100
    plain, quiet = (learning_coefficient(drawn([0.0] * 4, loss=loss, stein=s)) for s in (None, stein))
    assert abs(quiet["llc"].item() - 5) < 4 * 0.1 * plain["llc_se"].item()
    assert quiet["llc_se"].item() == pytest.approx(0.5 * plain["llc_se"].item(), rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_a_flat_direction_that_no_chain_goes_along_adds_nothing_to_the_estimate(seed):
    """17 directions that the loss holds, λ = 8.5, and one of 18 that stays at 0, a virial of 17/18: with control
    variates believed it came out as 9.0, in 17 of these 20 by more than 3 errors. Of the first 200 seeds 140 did, and 3
    do now (by hand).
    """
    squares = np.square(np.random.default_rng(seed).standard_normal((4, 60, 17))).sum(axis=2)[None]
    draws = drawn([0.0] * 4, loss=squares / 200, stein=squares[..., None] - 18)
    draws.attrs["dimension"] = 18
    found = learning_coefficient(draws)
    assert abs(found["llc"].item() - 8.5) < 3 * found["llc_se"].item()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 3, 5, 7])
def test_a_polygon_whose_rotation_no_chain_goes_along_keeps_its_coefficient(seed):
    """Within 3 errors, false alarms 1 in 370 a seed. With control variates believed: 3.9 to 6.8 errors above 8.5."""
    run = named(["superposition 5-gon+"])[0].run()
    fixed = {"n_beta": 8.67e6, "localization": 4.1, "step_size": 0.2, "leapfrog_steps": 12}
    found = LearningCoefficient(sampler="hmc", seed=seed, chains=16, burn_in=120, draws=100, **fixed).over(run)
    assert abs(found["llc"].item() - 8.5) < 3 * found["llc_se"].item()


def test_an_unadjusted_sampler_doubts_half_of_what_its_two_corrections_differ_by():
    generator = np.random.default_rng(1)
    stein = generator.standard_normal((1, 4, 2000, 1))
    loss = (5 + 2 * stein[..., 0] + 0.2 * generator.standard_normal((1, 4, 2000))) / 100
    sure = drawn([0.0] * 4, loss=loss, stein=stein)
    doubtful = sure.copy()
    doubtful.attrs = {**sure.attrs, "is_adjusted": 0}
    exact, found = learning_coefficient(sure), learning_coefficient(doubtful)
    apart = abs(found["llc_raw"] - found["llc_step_bias"] - found["llc"]).item()
    assert found["llc_se"].item() == pytest.approx(np.hypot(exact["llc_se"].item(), 0.5 * apart), rel=1e-12)


def test_control_variates_far_from_what_the_step_correction_finds_are_not_believed():
    """Both take off what the finite step adds: 0 and 0.8 of 5 ± 0.02, or 0 and 0.05."""
    generator = np.random.default_rng(1)
    stein = generator.standard_normal((1, 4, 2000, 1))
    loss = (5 + 2 * stein[..., 0] + 0.2 * generator.standard_normal((1, 4, 2000))) / 100
    near, far = (learning_coefficient(drawn([bias] * 4, loss=loss, stein=stein)) for bias in (0.05, 0.8))
    assert near["llc"].item() == pytest.approx(5, abs=0.02)
    assert far["llc"].item() == pytest.approx(far["llc_raw"].item() - 0.8, rel=1e-12)
    assert far["llc_se"].item() > 0.02


def test_a_chain_that_left_the_numbers_is_left_out_named_and_not_averaged_in():
    draws = drawn([0.0] * 4)
    clean = learning_coefficient(draws.isel(chain=[0, 2, 3]))
    draws["loss"][0, 1, 300:] = np.inf
    found = learning_coefficient(draws)
    assert found["llc"].item() == clean["llc"].item()
    assert found["llc_se"].item() == clean["llc_se"].item()
    assert "non_finite" in found["llc_flags"].item()
    assert "chain 1: the loss is not finite from draw 300 on" in found.attrs["non_finite"]


def test_a_trace_beyond_float32_is_infinite_without_a_warning():
    draws = drawn([0.0] * 4)
    draws["loss"] = draws["loss"].astype(np.float64)
    draws["loss"][0, 1, 300:] = 1e60
    found = learning_coefficient(draws)
    assert np.isinf(found["llc_trace"].values[0, 1, 300:]).all()


def test_blocks_give_the_rows_of_the_whole_run():
    run = Regression(4).run(3, steps=[0, 10, 20])
    whole = SHORT.over(run)
    for row in range(3):
        part = SHORT.over(run.block(row, row + 1))
        np.testing.assert_allclose(part["llc"][0], whole["llc"][row], rtol=1e-5)


def test_resolved_fills_every_setting_and_is_stable():
    run = Monomials((2,) * 10).run()
    ready = LearningCoefficient(burn_in=50, draws=50).resolved(run)
    assert all(getattr(ready, name) is not None for name in CALIBRATED)
    assert ready.resolved(run) is ready
    assert (ready.burn_in, ready.draws) == (50, 50)


def test_the_reasons_and_moves_of_a_calibration_are_kept_as_settings():
    run = Monomials((2,) * 10).run()
    ready = LearningCoefficient(burn_in=50, draws=50, chains=4).resolved(run)
    assert ready.reasons["draws"] == "given"
    assert "largest" in ready.reasons["step_size"]
    assert ready.moves == {"0": 0.0}
    again = with_settings(LearningCoefficient, json.loads(json.dumps(settings_of(ready))), kind="metric")
    assert again == ready
    assert json.loads(again.over(run).attrs["reasons"]) == ready.reasons


def test_an_estimate_that_moved_at_the_nearest_pilot_is_flagged_as_unresolved():
    run = Monomials().run(4, steps=[0, 10, 1000, 1010])
    moving = dataclasses.replace(SHORT, moves={"0": 0.0, "1010": -0.2})
    assert moving.over(run)["llc_flags"].values.tolist() == ["", "", "unresolved", "unresolved"]
    assert moving.over(run.block(1, 3))["llc_flags"].values.tolist() == ["", "unresolved"]


def test_an_estimate_below_0_at_a_point_that_is_no_minimum_is_flagged_as_headroom():
    run = MemoryRun(Monomials((2, 2)), {"w": np.float32([[1.0, 1.0]])})
    found = SHORT.over(run)
    assert found["llc"].item() < -50
    assert {"negative", "headroom", "escape"} <= set(found["llc_flags"].item().split(","))
    assert found["llc_headroom"].item() == pytest.approx(100, rel=1e-3)
    # nβ·L(w*) = 100 there; what is left is the coefficient of the quadratic, 1
    assert 0.5 < (found["llc"] + found["llc_headroom"]).item() < 2


def test_a_chain_that_blows_up_is_named_and_has_no_estimate():
    wild = LearningCoefficient(**{**{n: getattr(SHORT, n) for n in CALIBRATED}, "step_size": 10.0, "draws": 200})
    found = wild.over(Monomials((2, 2)).run(steps=[1200]))
    assert np.isnan(found["llc"].item())
    assert "non_finite" in found["llc_flags"].item()
    assert "step 1200, chain 0: the loss is not finite from draw" in found.attrs["non_finite"]


KNOWN = [
    (Monomials((2,)), 0.5),
    (Monomials((2, 2)), 1.0),
    (Monomials((2,) * 5, examples=10000), 2.5),
    (Monomials((4, 4, 2)), 1.0),
    (Regression(2, examples=100), 1.0),
    (Regression(5, condition=10.0, examples=300), 2.5),
    (Regression(20, condition=100.0), 10.0),
    (Regression(100, condition=10.0), 50.0),
    (Regression(20, examples=10000), 10.0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "truth"), KNOWN, ids=lambda value: str(value)[:60])
def test_automatic_settings_find_known_coefficients(task, truth):
    """Within 3.5 errors or 1.5% (what step and localization may leave): false alarms 1 in 2,000 a case, if normal."""
    found = LearningCoefficient().over(task.run())
    llc, error = found["llc"].item(), found["llc_se"].item()
    assert abs(llc - truth) < max(3.5 * error, 0.015 * truth)
    assert error < 0.035 * truth
    assert found["llc_flags"].item() == ""


@pytest.mark.slow
def test_an_estimate_that_automatic_settings_cannot_get_right_says_so():
    """Condition 10,000: γ holds what the loss should. Of four seeds all were flagged (a move of 5 to 8 errors)."""
    found = LearningCoefficient().over(Regression(10, condition=1e4).run())
    assert found["llc"].item() < 0.9 * 5.0
    assert "unresolved" in found["llc_flags"].item().split(",")


@pytest.mark.slow
def test_a_normal_crossing_of_long_tails_is_flagged_whatever_comes_out():
    """w₁²w₂⁴: λ = 1/4. With control variates it is 6% low instead of 24%, and its tails are as long."""
    found = LearningCoefficient().over(Product((2, 4)).run())
    assert "unresolved" in found["llc_flags"].item().split(",")
