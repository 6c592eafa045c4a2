"""Which step a file is of: numbers in names, told apart from what else is numbered."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devi import DeviError
from devi.checkpoints.foreign.steps import epochs_by_name, no_step, steps_by_name, steps_by_pattern, steps_said


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["step_9", "step_10"], [9, 10]),
        (["0007", "0123"], [7, 123]),
        (["model_v2_step=1200"], [1200]),
        (["epoch=3-step=100", "epoch=3-step=200"], [100, 200]),
        (["lr0.01_iter500"], [500]),
        (["p53_seed0_40", "p53_seed0_80"], [40, 80]),  # only one of three numbers differs
        (["checkpoint-500"], [500]),
        (["global_step1200"], [1200]),
        (["steps 12"], [12]),
        (["final"], [None]),
        (["epoch=3"], [None]),  # an epoch is no step
        (["a1_b2", "a2_b1"], [None, None]),  # two numbers differ: which is the step cannot be told
    ],
)
def test_the_step_is_found_in_the_name(names, steps):
    assert steps_by_name(names) == steps


@pytest.mark.parametrize(
    "name",
    [
        "step_1k",
        "ckpt_1M",
        "step_1e3",
        "step_1,000",
        "step_1_000",
        "step_0.5",
        "step_.5",
        "step_-1",
        "step_50%",
        "-1",
        "model_acc0.90",
        "1k",
        "0.5",
        "2.5k",
        "epoch_0_batch_300",
        "sample-mnist-epoch=00-val_loss=0.91",
        "p53_epoch_4",
    ],
)
def test_a_part_of_a_number_or_a_number_of_something_else_is_no_step(name):
    assert steps_by_name([name, "step_500"]) == [None, 500]
    assert steps_by_name([name]) == [None]


def test_decimals_in_names_do_not_hide_the_step():
    assert steps_by_name(["loss0.91_100", "loss0.85_200"]) == [100, 200]
    assert steps_by_name(["v1.0.2_40"]) == [40]
    assert steps_by_name(["step_100_of_1000", "step=12000_256", "step-7"]) == [100, 12000, 7]


def test_the_power_of_ten_is_no_step():
    assert steps_by_name(["1e3", "1e4"]) == [None, None]


def test_only_a_word_says_for_sure_that_a_number_is_the_step():
    assert steps_said(["step_9", "0007", "step_1k", "epoch=3-step=10"]) == [9, None, None, 10]


@given(st.integers(0, 2**63 - 1), st.text(string.ascii_letters.replace("e", "") + "_-.", max_size=20))
def test_any_step_written_after_the_word_step_is_found(step, before):
    assert steps_by_name([f"{before}9_step_{step}.pt"]) == [step]


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_any_names_give_steps_or_none_or_a_clear_error(names):
    try:
        found = steps_by_name(names)
    except DeviError as error:
        found = str(error)
    if isinstance(found, str):
        assert "is no step" in found
    else:
        assert len(found) == len(names)
        assert all(step is None or 0 <= step < 2**63 for step in found)


def test_epochs_are_found_when_asked_for():
    assert epochs_by_name(["epoch=3", "Epoch_12", "final"]) == [3, 12, None]


def test_a_pattern_chooses_files_and_their_step():
    assert steps_by_pattern(["a1_s5.pt", "a2_s6.pt", "last.pt"], r"s(\d+)") == [5, 6, None]


def test_a_pattern_does_not_cut_a_number_unless_it_says_what_follows():
    with pytest.raises(DeviError, match=r"step_1k.pt: .*ends within a number or a word, after 'step_1'"):
        steps_by_pattern(["step_500.pt", "step_1k.pt"], r"step_(\d+)")
    assert steps_by_pattern(["step_500.pt", "step_1k.pt"], r"step_(\d+)\.pt") == [500, None]
    assert steps_by_pattern(["step_1k.pt"], r"step_(\d+)k") == [1]


def test_a_name_without_a_step_is_told_what_is_missing():
    assert "Expected one whole number in the name, as in step_1200, or an entry 'step'" in str(
        no_step("a_1k", ["a_1k"])
    )
    for name in ("step_1k", "step_1e3", "step_1_000"):
        assert "Rename them: step_1200" in str(no_step(name, [name]))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", "no regular expression"),
        (r"\d+", "has 0 groups"),
        (r"(a)(\d+)", "has 2 groups"),
        (r"step(\d+)", "matches none of 1 names"),
        (r"(run)", "'run' is no step"),
    ],
)
def test_a_pattern_that_cannot_work_is_told_with_one_that_could(pattern, words):
    with pytest.raises(DeviError, match=words) as error:
        steps_by_pattern(["run_12.pt"], pattern)
    assert r"--step-pattern '" in str(error.value)


def test_the_pattern_that_an_error_suggests_works():
    with pytest.raises(DeviError) as error:
        steps_by_pattern(["my run (a) 12.pt"], r"nothing(\d+)")
    suggested = str(error.value).rpartition("--step-pattern '")[2].rstrip("'")
    assert steps_by_pattern(["my run (a) 12.pt"], suggested) == [12]


def test_a_number_too_large_for_a_step_is_refused():
    with pytest.raises(DeviError, match=r"is no step; expected a whole number from 0 to 9223372036854775807"):
        steps_by_name([f"step_{2**63}"])


@pytest.mark.parametrize(("names", "steps"), [(["10steps.pt", "20steps.pt"], [10, 20]), (["10_iter.pt"], [10])])
def test_the_pattern_for_a_number_before_its_word_fits_when_it_is_typed(names, steps):
    text = str(no_step(names[0], names))
    assert steps_by_pattern(names, text.rpartition("--step-pattern ")[2].strip("'")) == steps


def test_no_pattern_is_suggested_that_fits_no_name():
    assert "--step-pattern" not in str(no_step("1.5.pt", ["1.5.pt", "2.5.pt"]))
