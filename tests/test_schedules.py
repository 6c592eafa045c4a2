import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devi.errors import DeviError
from devi.schedules import schedule


def test_every_k_keeps_multiples_and_the_last_step():
    assert schedule("every:10", 35) == [0, 10, 20, 30, 35]


def test_a_list_keeps_the_steps_named_and_the_ends():
    assert schedule("5,3", 10) == [0, 3, 5, 10]


def test_a_file_lists_steps(tmp_path):
    path = tmp_path / "steps.txt"
    path.write_text("1\n2\n40\n")
    assert schedule(str(path), 50) == [0, 1, 2, 40, 50]


def test_log_spacing_has_constant_ratios_where_whole_numbers_allow():
    steps = schedule("log:100", 10_000)
    late = [b / a for a, b in zip(steps[-30:], steps[-29:], strict=False)]
    assert max(late) - min(late) < 0.02


@given(count=st.integers(1, 400), steps=st.integers(1, 5000))
def test_log_gives_the_count_asked_for_and_both_ends(count, steps):
    kept = schedule(f"log:{count}", steps)
    assert kept[0] == 0
    assert kept[-1] == steps
    assert kept == sorted(set(kept))
    assert min(count, steps) <= len(kept) - 1 <= min(1.25 * count + 2, steps)


@pytest.mark.parametrize("count", [1, 7, 100, 500, 950])
def test_log_takes_the_first_spacing_that_gives_enough_steps_one_more_at_a_time(count):
    """A run that is resumed must find the schedule it was begun with."""
    asked, chosen = count, []
    while len(chosen) < count:
        chosen = np.unique(np.round(np.geomspace(1, 1000, asked)).astype(int)).tolist()
        asked += max(1, (count - len(chosen)) // 2)
    assert schedule(f"log:{count}", 1000) == sorted({0, 1000, *chosen})


def test_log_of_nearly_every_step_tries_no_more_numbers_than_a_second_allows(monkeypatch):
    tried = []
    spaced = np.geomspace
    monkeypatch.setattr(np, "geomspace", lambda *ends: tried.append(ends[2]) or spaced(*ends))
    monkeypatch.setattr("devi.schedules.MOST_TRIED", 1_000_000)
    assert 1999 <= len(schedule("log:1999", 2000)) - 1 <= 2000
    assert sum(tried) < 2_000_000


@pytest.mark.parametrize("text", ["log:", "log:0", "log:x", "every:0", "every:-3", "often", "log:1.5"])
def test_what_is_not_a_schedule_is_refused_with_the_forms_that_are(text):
    with pytest.raises(DeviError, match="expected log:COUNT, every:STEPS"):
        schedule(text, 100)


def test_a_step_past_the_end_is_refused():
    with pytest.raises(DeviError, match="step 200 lies past the end of the run, 100 steps"):
        schedule("200", 100)


@given(st.text(max_size=40))
def test_any_text_gives_a_schedule_or_a_clear_error(text):
    try:
        kept = schedule(text, 20)
    except DeviError:
        return
    assert kept[0] == 0
    assert kept[-1] == 20
