import dataclasses
import math
import re
import time

import pytest

from devi.errors import DeviError
from devi.sampling.budget import Clock, outlook, seconds_of, within_budget
from devi.sampling.settings import GIVEN, Settings

SETTINGS = Settings(
    "sgld", step_size=1e-3, n_beta=50.0, localization=1.0, burn_in=100, draws=300, most_draws=600, chains=4,
    batch_size=0, seconds_per_step=0.01,
)  # fmt: skip


def test_a_time_is_read_in_seconds_minutes_and_hours():
    assert [seconds_of(text) for text in ("60s", "5m", "1h", "0.5 m", "90", 20, None)] == [
        60,
        300,
        3600,
        30,
        90,
        20,
        None,
    ]


@pytest.mark.parametrize("text", ["", "soon", "-5s", "0s", "5d", "1m30s", math.inf, math.nan])
def test_what_is_no_time_is_told_so(text):
    with pytest.raises(DeviError, match="is no time; expected seconds, minutes or hours: 60s, 5m or 1h"):
        seconds_of(text)


def test_a_budget_is_the_most_draws_that_fit_in_it():
    # 10 replicas at 0.01 s a step: 50 s are 500 steps, 400 of them after burn-in
    found = within_budget(SETTINGS, 50.0, 10)
    assert (found.burn_in, found.draws, found.most_draws) == (100, 300, 400)
    # and it may give more than the default
    assert within_budget(SETTINGS, 500.0, 10).most_draws == 4900
    assert "50 s of sampling" in found.reasons["most_draws"]


def test_a_small_budget_shortens_draws_and_a_burn_in_that_was_not_given():
    found = within_budget(SETTINGS, 20.0, 10)
    assert (found.burn_in, found.draws, found.most_draws) == (50, 150, 150)
    given = dataclasses.replace(SETTINGS, reasons={"burn_in": GIVEN, "draws": GIVEN})
    found = within_budget(given, 20.0, 10)
    assert (found.burn_in, found.draws, found.most_draws) == (100, 100, 100)
    assert within_budget(given, 500.0, 10).most_draws == 300


def test_a_budget_too_small_for_any_chain_says_what_is_enough():
    with pytest.raises(DeviError, match=r"a budget of 1 s is enough for 10 steps of 10 chains, .* --budget 5s"):
        within_budget(SETTINGS, 1.0, 10)
    assert within_budget(SETTINGS, 5.0, 10).most_draws == 38


def test_a_budget_too_short_for_the_fewest_gradients_is_refused_by_the_time_that_one_takes():
    fewest = {"calibration": 100, "sampling": 400}
    Clock(10.0).check(0.01, **fewest)  # 400 gradients in half of it
    for parts in (1, 3):
        with pytest.raises(DeviError, match=r"a budget of 5 s.* is too short: a gradient takes 10 ms here") as refused:
            Clock(5.0, parts).check(0.01, **fewest)
        least, enough = re.search(r"about (\d+) s of budget. .* --budget (\d+)s", str(refused.value)).groups()
        assert float(enough) == pytest.approx(2 * float(least), abs=1.1)
        Clock(float(enough) / parts, parts).check(0.018, **fewest)  # the next time it takes nearly twice as long
    with pytest.raises(DeviError, match="calibration at least 900 of them"):
        Clock(10.0).check(0.01, calibration=900, sampling=1)
    with pytest.raises(
        DeviError, match="a budget of 1,000 s is too short: a gradient takes 1,200 ms .* about 1,100 s of"
    ):
        Clock(1000.0).check(1.2, calibration=1, sampling=440)


def test_half_of_a_budget_is_for_calibration_and_without_one_there_is_no_end():
    assert 9 < Clock(20.0).left() <= 10
    assert not Clock(20.0).is_late()
    assert Clock(20.0, began=time.perf_counter() - 11).is_late()
    assert not Clock().is_set
    assert Clock().left() == math.inf


def test_what_calibration_took_is_taken_off():
    found = within_budget(SETTINGS, 70.0, 10, spent=20.0)
    assert found == within_budget(SETTINGS, 50.0, 10)
    with pytest.raises(DeviError, match=r"a budget of 8 s, of which calibration took 6 s, .* --budget 12s"):
        within_budget(SETTINGS, 8.0, 10, spent=6.0)


def test_the_outlook_says_time_and_gradients():
    assert outlook([(SETTINGS, 10, 1)]) == "sampling takes about 40 s to 70 s, 4,000 to 7,000 gradients"
    fixed = dataclasses.replace(SETTINGS, most_draws=300, seconds_per_step=math.nan)
    assert outlook([(fixed, 10, 5.5), (fixed, 10, 5.5)]) == "sampling takes 44,000 gradients"


def test_what_several_parts_share_is_asked_for_as_a_whole():
    with pytest.raises(
        DeviError, match=r"a budget of 1 s, one of 3 parts, is enough for .* Give more time: --budget (\d+)s"
    ) as alone:
        within_budget(SETTINGS, 1.0, 1000, parts=3)
    with pytest.raises(DeviError, match=r"Give more time: --budget") as one:
        within_budget(SETTINGS, 1.0, 1000)
    shared, single = (int(re.search(r"--budget (\d+)s", str(error.value))[1]) for error in (alone, one))
    assert shared == pytest.approx(3 * single, abs=3)
