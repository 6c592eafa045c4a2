"""The sentence about an event: four metrics, the first rank first, columns by their names."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from devi.transitions.fusion import find_transitions
from devi.transitions.words import column_of, listed, number, step_text, told_apart, with_error
from tests.transitions.planted import STEPS, jump, run, sigmoid

STEP = sigmoid(1500, 0.3)


def only(curves):
    (one,) = find_transitions(curves)
    return one


def test_four_metrics_are_told_in_order_and_the_rest_counted():
    one = only(
        run(
            excluded_loss=STEP, train_loss=1 - STEP, weight_norm=STEP, test_loss=1 - STEP, mine=STEP, test_accuracy=STEP
        )
    )
    told = one.description.partition(": ")[2]
    names = ["test accuracy", "test loss", "train loss", "excluded loss"]
    assert [told.find(name) for name in names] == sorted(told.find(name) for name in names)
    assert all(name in told for name in names)
    assert told.endswith(", and 2 more")


def test_the_llc_is_told_with_its_error_however_many_metrics_move():
    norms = np.stack([sigmoid(1500, 0.3), 0.9 * sigmoid(1500, 0.3), 0.8 * sigmoid(1500, 0.3)], axis=1)
    curves = run(feature_norm=norms, test_loss=1 - STEP, train_loss=1 - STEP, llc=249 - 111 * STEP)
    curves["llc_se"] = ("step", np.where(STEP < 0.5, 1.2, 4.1))
    assert "LLC 240 ± 1 → 147 ± 4" in only(curves).description


def test_context_is_told_only_where_nothing_else_moved():
    assert "weight norm" not in only(run(test_loss=1 - STEP, weight_norm=STEP)).description
    assert "weight norm 0.08 → 0.92" in only(run(weight_norm=STEP)).description


def test_an_entering_feature_is_told_by_its_norm():
    norms = np.stack([STEP, 0 * STEP], axis=1)
    one = only(run(feature_norm=norms, train_loss=1 - STEP))
    assert "feature 0 enters: its norm 0.08 → 0.92, train loss 0.92 → 0.08" in one.description


def test_a_column_is_named_by_its_whole_number_coordinate():
    columns = np.stack([0 * STEP, STEP], axis=1)
    curves = xr.Dataset({"power": (("step", "frequency"), columns)}, coords={"step": STEPS, "frequency": [1, 2]})
    one = only(curves)
    assert [support.index for support in one.support] == [2]
    assert one.label == "power of frequency 2"


def test_a_column_with_a_name_keeps_its_place_as_index_and_its_name_in_words():
    columns = np.stack([0 * STEP, STEP], axis=1)
    curves = xr.Dataset(
        {"size": (("step", "parameter"), columns)}, coords={"step": STEPS, "parameter": ["embed.weight", "bias"]}
    )
    one = only(curves)
    assert [support.index for support in one.support] == [1]
    assert one.label == "size of bias"


def test_a_column_without_a_coordinate_has_its_position():
    assert column_of(xr.DataArray(np.zeros((3, 2)), dims=("step", "feature")), 1) == (1, "1", "feature")


def test_a_jump_is_told_from_the_checkpoint_before_to_the_one_after():
    assert "test loss 0.00 → 2.00" in only(run(test_loss=2.0 * jump(400))).description.replace("loss 0 ", "loss 0.00 ")


def test_counts_are_told_as_whole_numbers():
    assert "features represented 2 → 3" in only(run(features_represented=2 + jump(400))).description


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (249.3, 1.2, "249 ± 1"),
        (5.213, 0.08, "5.21 ± 0.08"),
        (12345, 30, "12,345 ± 30"),
        (0.5, np.nan, "0.50"),
        (-8.88, 0.1, "−8.9 ± 0.1"),
        (-2e-3, 0.0, "−2.0e-03"),
    ],
)
def test_a_value_has_the_decimals_of_its_error(value, error, text):
    assert with_error(value, error) == text


def test_numbers_have_two_decimals_or_three_digits():
    assert [number(x) for x in (0.0, 1e-4, 0.456, 45.67, 4567.8)] == ["0", "1.0e-04", "0.46", "45.7", "4,568"]


def test_values_that_differ_are_told_with_digits_that_differ():
    assert "loss 1.000000 → 1.000001" in only(run(loss=1 + 1e-6 * jump(400))).description
    curves = run(a=1 + 0.004 * jump(400))
    curves["a_se"] = ("step", np.where(STEPS < 400, 0.01, 0.02))
    texts = told_apart(lambda more: [with_error(value, 0.01, more) for value in (1.0, 1.004)])
    assert texts == ["1.000 ± 0.010", "1.004 ± 0.010"]
    assert told_apart(lambda more: [number(value, more) for value in (1.0, 1.0)]) == ["1.00", "1.00"]


def test_a_step_has_the_digits_that_tell_its_checkpoints_apart():
    whole, epochs = np.arange(100), 0.05 * np.arange(1, 100)
    assert [step_text(step, whole) for step in (0.3, 49.6, 1e4)] == ["0", "50", "10,000"]
    assert [step_text(step, epochs) for step in (0.051, 2.5711)] == ["0.05", "2.57"]
    assert [step_text(step, STEPS / 1e5) for step in (1.234e-5, 0.01234, 0.1)] == ["0.00001", "0.0123", "0.100"]
    assert step_text(1.234e-9, whole[1:] * 1e-9) == "1.23e-09"


def test_fractional_steps_are_told_with_their_fractions():
    one = find_transitions(run(STEPS / 1e5, loss=STEP))[0]
    assert one.description.startswith("between steps 0.01")


def test_lists_read_as_english():
    assert [listed(x) for x in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_a_value_of_more_digits_than_anyone_reads_has_an_exponent():
    assert number(123_456_789.0) == "123,456,789"
    assert number(1.2e30) == "1.2e+30"
    assert with_error(3e12, 4e10) == "3.0e+12 ± 4e+10"
    assert "a 1.0e+300 → 2.0e+300" in only(run(a=1e300 + 1e300 * (STEPS > 400))).description


def test_a_value_that_its_own_diagnostics_do_not_trust_is_called_flagged():
    curves = run(llc=100 * STEP)
    curves["llc_flags"] = ("step", np.where(STEPS < 1200, "negative,headroom", "headroom"), {"information": "headroom"})
    assert "→ 92.0 (flagged)" in only(curves).description
    curves["llc_flags"] = ("step", np.full(len(STEPS), "headroom"), {"information": "headroom"})
    assert "(flagged)" not in only(curves).description
