"""What a metric declares of itself is read where it means something, and refused where it does not."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from devi import DeviError, find_transitions
from devi.transitions.declared import declared
from tests.transitions.planted import X, run, sigmoid

INFINITE = (-np.inf, np.inf)


def of(name="a", **attributes):
    curves = run(**{name: sigmoid(400, 0.3)})
    curves[name].attrs = attributes
    return declared(name, curves[name], curves[name].values)


def test_a_metric_that_declares_nothing_has_no_bounds_direction_or_materiality():
    assert of() == (0.0, False, INFINITE, 0)


def test_units_declare_what_is_material_and_the_metric_itself_declares_it_first():
    assert of(units="nats") == (0.02, False, INFINITE, 0)
    assert of(units="nats", material=0.3) == (0.3, True, INFINITE, 0)


def test_bounds_are_an_attribute_or_those_of_cf_or_of_an_accuracy():
    assert of(bounds=(0, 2)).bounds == of(valid_min=0, valid_max=2).bounds == (0.0, 2.0)
    assert of(bounds=np.array([-np.inf, 1])).bounds == (-np.inf, 1.0)
    assert of("test_accuracy").bounds == (0.0, 1.0)
    assert of(bounds="a_bnds").bounds == INFINITE  # CF: the name of another variable


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"monotone": "rising"}, "metric a: monotone is 'rising'; expected 'up' or 'down'"),
        ({"bounds": (1, 0)}, r"metric a: its bounds are \[1.0, 0.0\]; expected \(low, high\) that increase"),
        ({"bounds": (0, 1, 2)}, r"its bounds are \[0.0, 1.0, 2.0\]"),
        ({"bounds": (0, np.nan)}, "its bounds are"),
        ({"bounds": ("low", "high")}, "metric a: bounds has 'low'; expected two numbers"),
        ({"material": "small"}, "metric a: material has 'small'; expected a size of 0 or more"),
        ({"material": -1}, "metric a: material is -1"),
    ],
)
def test_an_attribute_that_says_nothing_is_an_error(attributes, text):
    curves = run(a=sigmoid(400, 0.3))
    curves["a"].attrs = attributes
    with pytest.raises(DeviError, match=text):
        find_transitions(curves)


def test_a_bound_of_none_is_no_bound():
    assert of(bounds=(0, None)).bounds == (0.0, np.inf)
    assert of(bounds=(None, 2)).bounds == (-np.inf, 2.0)


@pytest.mark.parametrize("key", ["5000", np.nan, 1j])
def test_steps_of_what_was_done_from_outside_are_numbers(key):
    with pytest.raises(DeviError, match=r"exogenous has the key .*; expected optimizer steps as numbers"):
        find_transitions(run(a=X), exogenous={key: "lr/10"})


@pytest.mark.parametrize(
    ("name", "values", "bounds"),
    [
        ("test_accuracy", [0.1, 0.9], (0.0, 1.0)), ("val/accuracy", [10.0, 90.0], (0.0, 100.0)),
        ("valaccuracy", [0.1, 0.9], (0.0, 1.0)),
        ("inaccuracy", [0.1, 0.9], (-np.inf, np.inf)), ("log_accuracy", [-2.0, -0.1], (-np.inf, np.inf)),
    ],
)  # fmt: skip
def test_an_accuracy_is_known_by_its_name_unless_its_values_are_none(name, values, bounds):
    assert declared(name, xr.DataArray(values), np.array(values)).bounds == bounds
