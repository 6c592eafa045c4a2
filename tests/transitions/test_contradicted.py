import numpy as np
import pytest
import xarray as xr

from devi.transitions.contradicted import contradictions

STEPS = np.arange(0, 2000, 10)
RISE = 1 / (1 + np.exp(-(STEPS - 1000) / 50.0))
NOISE = np.random.default_rng(0).normal(size=len(STEPS))


def told(values, exogenous=None, **declared):
    return list(contradictions(xr.Dataset({"acc": ("step", values, declared)}, {"step": STEPS}), exogenous or {}))


def test_what_is_declared_rightly_is_not_doubted():
    assert told(RISE, monotone="up", bounds=(0, 1)) == []
    assert told(RISE + 0.02 * NOISE, monotone="up", bounds=(0, 1)) == []  # noise goes back, and beyond a bound
    assert told(-RISE, monotone="down", bounds=(-np.inf, np.inf)) == []
    assert told(np.where(STEPS == 500, np.nan, RISE), monotone="up") == []
    assert told(RISE, {0: "before", 1990: "at the end"}) == []
    assert told(RISE) == []


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_contradicts_no_direction(seed):
    assert told(np.random.default_rng(seed).normal(size=len(STEPS)), monotone="up") == []


def test_values_against_a_declaration_are_named_with_their_steps():
    (direction,) = told(RISE, monotone="down")
    assert "declared to go down only, and goes from 2.061e-09 at step 0 to 1 at step 1,990" in direction
    (bounds,) = told(RISE, bounds=(0, 0.5))
    assert "declared to stay within 0 and 0.5, and is 1 at step 1,990" in bounds
    (late,) = told(RISE, {99_999: "lr/10", 5: "start"})
    assert late.startswith("lr/10 at step 99,999 lies after the last row, step 1,990")


def test_a_short_steep_curve_against_its_declaration_is_named_too():
    """Of 31 rows the course itself bends within a few rows: its bend is no noise."""
    steps = np.arange(0, 310, 10)
    rise = 0.59 + 2.4 / (1 + np.exp(-(steps - 100) / 15))
    data = xr.Dataset({"down": ("step", rise, {"monotone": "down", "bounds": (0, 2.5)})}, {"step": steps})
    assert len(list(contradictions(data, {}))) == 2
