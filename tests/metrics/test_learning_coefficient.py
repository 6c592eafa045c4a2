import dataclasses

import numpy as np
import pytest

from devi.metrics.learning_coefficient import CALIBRATED, LearningCoefficient
from tests.sampling.in_memory import MemoryRun, Monomials, Regression

SHORT = LearningCoefficient(
    chains=4, draws=400, burn_in=100, step_size=2e-3, n_beta=100.0, localization=0.5, batch_size=0
)


def test_a_chain_that_cannot_move_has_an_llc_of_exactly_0():
    still = LearningCoefficient(**{**{n: getattr(SHORT, n) for n in CALIBRATED}, "step_size": 0.0, "draws": 20})
    found = still.over(Regression(3).run())
    assert found["llc"].item() == 0
    assert found["llc_se"].item() == 0
    assert found["llc_flags"].item() == "virial"


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
    assert whole["llc"].item() == pytest.approx((whole["llc_trace"].mean() - whole["llc_step_bias"]).item(), rel=1e-5)


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
