from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import xarray as xr

from devi.report.document import records, skipped
from devi.report.quantity import readings
from devi.report.sentences import (
    gradients_taken,
    headline,
    llc_sentence,
    sentence,
    signed,
    step_text,
    value_text,
)
from devi.transitions.fusion import detect, find_transitions
from tests.transitions.planted import run, sigmoid


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (412.3, 8.7, "412 ± 9"),
        (138.2, 4.1, "138 ± 4"),
        (7.034, 0.123, "7.03 ± 0.12"),
        (7.034, 0.5, "7.0 ± 0.5"),
        (12345.6, 230.0, "12,300 ± 200"),
        (-0.52, 0.0034, "−0.520 ± 0.003"),
        (0.0, float("nan"), "0"),
        (0.0626, float("nan"), "0.0626"),
        (3487.2, float("nan"), "3,487"),
        (3.2e-7, float("nan"), "3.20e-07"),
        (float("nan"), 1.0, "no value"),
        (float("inf"), 1.0, "not finite"),
        (-0.0, float("nan"), "0"),
        (-0.04, 0.5, "0.0 ± 0.5"),
        (5.0, 0.0, "5.00"),
    ],
)
def test_values_are_rounded_where_their_error_starts(value, error, text):
    assert value_text(value, error) == text


def test_steps_and_changes_read_well():
    assert [step_text(step) for step in (0, 3.4, 1050.2, 12000)] == ["0", "3.4", "1,050", "12,000"]
    assert [signed(value) for value in (0.5, -0.5, 0.0)] == ["+0.500", "−0.500", "0"]


def test_sentence_has_the_values_before_the_onset_and_after_the_end(trajectories, transition):
    assert sentence(trajectories, records([transition])[0]) == (
        "Between steps 120 and 900 one level gave way to another (generalization): test accuracy 0.05 → 1.00,"
        " test loss 9.00 → 0.500 nats."
    )


def test_a_flagged_llc_is_called_so_where_a_sentence_quotes_it(trajectories, transition):
    llc = {"metric": "llc", "index": None, "direction": "down"}
    told = records([transition])[0] | {"support": [llc]}
    trajectories["llc_flags"][:] = ""
    assert "(flagged)" not in sentence(trajectories, told)
    trajectories["llc_flags"][:] = "escape"
    assert sentence(trajectories, told).endswith(" (flagged).")


def test_the_llc_is_told_where_it_moved_and_only_there(trajectories, transition):
    told = records([transition])[0]
    assert "LLC" not in sentence(trajectories, told | {"against": ["llc"]})
    llc = {"metric": "llc", "index": None, "direction": "down"}
    others = [{"metric": name, "index": None, "direction": "down"} for name in ("train_loss", "a", "b", "c")]
    for name in "abc":
        trajectories[name] = ("step", trajectories["test_loss"].values)
    text = sentence(trajectories, told | {"support": [*told["support"], *others, llc]})
    assert text.endswith("train loss 0.130 → 0.0554 nats, LLC 412 ± 9 → 138 ± 4, and 3 more.")


def test_description_leads_and_gets_the_numbers(trajectories, transition):
    told = dataclasses.replace(transition, description="the network generalized", support=transition.support[:1])
    assert sentence(trajectories, records([told])[0]) == (
        "Between steps 120 and 900, the network generalized: test accuracy 0.05 → 1.00."
    )


def test_a_description_that_says_when_is_not_dated_twice(trajectories, transition):
    """It tells whole steps where the checkpoints are a step apart; the table has the dates of the fit."""
    told = records([transition])[0] | {"onset": 4.7, "end": 7.2}
    text = sentence(trajectories, told | {"description": "between steps 5 and 7 the network overfitted: x 1 → 2"})
    assert text.startswith("Between steps 5 and 7 the network overfitted: ")
    assert sentence(trajectories, told | {"description": "it overfitted"}).startswith("Between steps 4.7 and 7.2, it")


def test_numbers_in_a_description_give_way_to_those_read_at_onset_and_end(trajectories, transition):
    told = dataclasses.replace(transition, description="between steps 120 and 900 it generalized: accuracy 0.1 → 0.9")
    assert sentence(trajectories, records([told])[0]) == (
        "Between steps 120 and 900 it generalized: test accuracy 0.05 → 1.00, test loss 9.00 → 0.500 nats."
    )
    unread = dataclasses.replace(told, support=())
    assert sentence(trajectories.drop_vars("llc"), records([unread])[0]) == (
        "Between steps 120 and 900 it generalized: accuracy 0.1 → 0.9."
    )


def test_a_transient_is_told_there_and_back(trajectories, transition):
    trajectories["llc"] = ("step", np.array([5.0, 5.0, 5.0, 5.1, 9.0, 14.0, 5.5, 5.4]))
    support = [{"metric": "llc", "index": None, "direction": "up"}]
    told = records([transition])[0] | {"type": "transient", "support": support, "end": 1900.0}
    assert "LLC 9 ± 9 → 14 ± 4 → 6 ± 4." in sentence(trajectories, told)


def test_a_value_that_noise_turns_round_is_not_told_against_the_table(trajectories, transition):
    support = [{"metric": "test_loss", "index": None, "direction": "up"}]
    assert "test loss" not in sentence(trajectories, records([transition])[0] | {"support": support})


def test_values_that_differ_late_are_told_with_the_digits_that_show_it(trajectories, transition):
    steps = trajectories["step"].values
    trajectories["norm"] = ("step", 2302.0 + 0.2 * (steps > 500))
    told = records([transition])[0] | {"support": [{"metric": "norm", "index": None, "direction": "up"}]}
    assert "norm 2,302.0 → 2,302.2." in sentence(trajectories, told)


def test_a_kink_is_told_by_its_slopes(trajectories, transition):
    told = dataclasses.replace(
        transition, type="kink", description="there was a kink in a: slope of a 0 → 3.1 a decade"
    )
    assert sentence(trajectories, records([told])[0]).endswith("there was a kink in a: slope of a 0 → 3.1 a decade.")


def test_four_quantities_are_told_two_columns_of_one_at_most_and_the_rest_counted(trajectories, transition):
    for name in "abcde":
        trajectories[name] = ("step", trajectories["test_loss"].values)
    support = [{"metric": name, "index": None} for name in [*"abcde", "test_loss"]]
    text = sentence(trajectories, records([transition])[0] | {"support": support})
    assert text.endswith(": a 9.00 → 0.500, b 9.00 → 0.500, c 9.00 → 0.500, d 9.00 → 0.500, and 2 more.")
    trajectories["wide"] = (("step", "unit"), np.outer(trajectories["test_loss"].values, [1.0, 1.0, 1.0]))
    support = [{"metric": "wide", "index": index} for index in (2, 0, 1)]
    text = sentence(trajectories, records([transition])[0] | {"support": support})
    assert text.endswith(": wide (unit 2) 9.00 → 0.500, wide (unit 0) 9.00 → 0.500, and 1 more.")


def test_page_and_terminal_tell_the_same_quantities_in_the_same_order():
    """Weight norm is context and only counted, and more moves than a sentence tells."""
    rise = sigmoid(1500, 0.3)
    curves = run(
        weight_norm=rise, mine=np.stack([rise, 0.9 * rise, 0.8 * rise], axis=1), train_loss=1 - rise,
        llc=249 - 111 * rise, test_loss=1 - rise,
    )  # fmt: skip
    (one,) = find_transitions(curves)
    parts = [text.partition(": ")[2].split(", ") for text in (one.description, sentence(curves, records([one])[0]))]
    names = ["test loss", "train loss", "LLC", "mine"]
    assert all(part.startswith(f"{name} ") for told in parts for part, name in zip(told, names, strict=False))
    assert [told[4:] for told in parts] == [["and 3 more"], ["and 3 more."]]
    assert [entry.metric for entry in one.support] == ["test_loss", "train_loss", "llc", *["mine"] * 3, "weight_norm"]


def test_declared_and_unresolvable_transitions_say_so(trajectories, transition):
    told = dataclasses.replace(transition, exogenous="learning rate / 10", resolvable=False)
    text = sentence(trajectories, records([told])[0])
    assert text.endswith(
        " It coincides with a declared event: learning rate / 10."
        " Fewer than 4 checkpoints lie on one side of it, so its dates are only a guess."
    )


def test_values_that_are_not_finite_are_passed_over(trajectories):
    trajectories["test_loss"][4] = np.nan
    before, after = readings(trajectories, "test_loss", None, 120.0, 900.0)
    assert (before.step, before.value, after.step, after.value) == (50.0, 9.0, 1000.0, 0.5)


def test_a_feature_is_named_by_its_dimension_and_number(superposition, transition):
    told = records([transition])[0] | {"support": [{"metric": "feature_norm", "index": 1}], "onset": 20.0, "end": 90.0}
    assert "feature norm (feature 1) 0.0200 → 1.00." in sentence(superposition, told)


def test_a_frequency_goes_by_its_own_number_and_not_by_its_column(modular, transition):
    support = [{"metric": "embedding_spectrum", "index": 4}]
    told = records([transition])[0] | {"support": support, "onset": 2.0, "end": 90.0}
    assert "embedding spectrum (frequency 4) 3.00 → 5.00." in sentence(modular, told)


def test_counts_are_whole_numbers(trajectories, transition):
    trajectories["features_represented"] = ("step", np.r_[np.full(5, 1.0), np.full(3, 2.0)])
    told = records([transition])[0] | {"support": [{"metric": "features_represented", "index": None}]}
    assert "features represented 1 → 2." in sentence(trajectories, told)


def test_metric_that_is_gone_or_has_no_value_after_the_end_is_left_out(trajectories, transition):
    told = records([transition])[0] | {"end": 5000.0}
    assert sentence(trajectories, told) == "Between steps 120 and 5,000 one level gave way to another (generalization)."
    assert readings(trajectories, "no_such_metric", None, 1.0, 2.0) == []


def test_headline_counts_what_was_found_and_where(trajectories, transition):
    found = records([transition])
    assert headline(trajectories, found) == "One transition was found in 8 checkpoints from step 0 to 4,000."
    assert headline(trajectories, found * 2).startswith("2 transitions were found in 8 checkpoints")
    assert headline(trajectories, []) == (
        "No transition was found in 8 checkpoints from step 0 to 4,000:"
        " every curve is explained by slow change and noise."
    )
    assert headline(trajectories.isel(step=[3]), []) == (
        "The run has one checkpoint, at step 50: its values are below, but a transition needs checkpoints before and"
        " after it."
    )


def test_a_run_in_which_nothing_could_be_searched_does_not_say_that_noise_explains_it():
    """Two checkpoints; the LLC's error is no curve of its own."""
    data = xr.Dataset({name: ("step", np.ones(2)) for name in ("a", "llc", "llc_se")}, coords={"step": [0, 60]})
    left_out = skipped(detect(data).skipped)
    assert headline(data, [], left_out) == (
        "No transition could be looked for in 2 checkpoints from step 0 to 60: a curve needs at least 10 with a finite"
        " value after step 0."
    )
    assert "explained by slow change" in headline(data.assign(b=("step", np.ones(2))), [], left_out)
    constant = [{"metric": name, "reason": "constant"} for name in ("a", "llc")]
    assert headline(data, [], constant).endswith("from step 0 to 60: no curve moves.")
    unasked = [{"metric": name, "reason": "integer labels, not a quantity"} for name in ("a", "llc")]
    assert headline(data, [], unasked).endswith("from step 0 to 60: every curve was left out of the search.")


def test_where_some_curves_are_constant_too_few_checkpoints_are_not_the_whole_reason():
    steps = np.arange(12)
    data = xr.Dataset({"a": ("step", np.ones(12)), "b": ("step", np.full(12, np.nan))}, coords={"step": steps})
    assert headline(data, [], skipped(detect(data).skipped)) == (
        "No transition could be looked for in 12 checkpoints from step 0 to 11: every curve is constant or has fewer"
        " than 10 finite values after step 0."
    )


def test_one_estimate_is_not_told_as_all_of_them(trajectories):
    one = trajectories.isel(step=[0])
    assert llc_sentence(one).startswith("The one LLC estimate is flagged by its own diagnostics (rhat 1): do not read")
    one["llc_flags"][:] = ""
    assert llc_sentence(one) == "The one LLC estimate passed its own diagnostics."
    one["llc_flags"][:] = "headroom"
    one["llc_flags"].attrs["information"] = "headroom"
    assert llc_sentence(one).startswith("The chains of the one LLC estimate are sound; ")
    assert llc_sentence(one.drop_vars("llc_flags")) == "The 1 LLC estimate carries no diagnostics."


def test_llc_sentence_says_how_many_estimates_can_be_trusted(trajectories):
    assert llc_sentence(trajectories) == (
        "1 of 8 LLC estimates is flagged by its own diagnostics (rhat 1) and drawn hollow. What that means is below."
    )
    trajectories["llc_flags"][:] = "rhat"
    assert llc_sentence(trajectories).startswith(
        "All 8 LLC estimates are flagged by their own diagnostics (rhat 8): do not read"
    )
    trajectories["llc_flags"].attrs["information"] = "headroom,unresolved"
    trajectories["llc_flags"][:] = "headroom,unresolved"
    assert llc_sentence(trajectories) == (
        "The chains of all 8 LLC estimates are sound; 8 of the estimates carry a remark on what the number means"
        " (headroom 8, unresolved 8), explained below."
    )
    trajectories["llc_flags"][2] = "headroom,rhat"
    assert llc_sentence(trajectories) == (
        "1 of 8 LLC estimates is flagged by its own diagnostics (rhat 1) and drawn hollow;"
        " remarks: headroom 8, unresolved 7. What that means is below."
    )
    trajectories["llc_flags"][:] = ""
    trajectories["llc"][2] = np.nan
    assert llc_sentence(trajectories.drop_vars("llc_se")) == (
        "All 8 LLC estimates passed their own diagnostics. 1 of 8 is not finite and leaves a gap in the curve."
        " They have no standard error."
    )
    assert llc_sentence(xr.Dataset(coords={"step": [0]})) == ""


def test_flags_of_coefficients_of_some_parameters_and_their_cost_are_counted():
    flags = (("step", "restriction"), np.array([["", "virial"], ["headroom", ""]]), {"information": "headroom"})
    cost = (("step", "restriction"), np.full((2, 2), 100.0))
    found = xr.Dataset(
        {
            "llc": ("step", np.ones(2)),
            "llc_se": ("step", np.ones(2)),
            "llc_gradients": ("step", np.full(2, 50.0)),
            "restricted_llc_flags": flags,
            "restricted_llc_gradients": cost,
        },
        coords={"step": [1, 2]},
    )
    assert "Of the 4 LLC estimates of some parameters 1 is flagged." in llc_sentence(found)
    assert gradients_taken(found) == 500
