"""The search as a whole: exact limits, planted changes, invariance, and the texts of its errors."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import xarray as xr
from scipy.signal import lfilter

from devi import DeviError
from devi.errors import counted
from devi.transitions.curves import curves_of
from devi.transitions.fusion import bundles_of, detect, find_transitions
from devi.transitions.levels import around
from tests.transitions.planted import BACKGROUNDS, STEPS, X, jump, kink, ramp, run, sigmoid

PLANTED = {"sigmoid": sigmoid(400, 0.4), "ramp": ramp(400, 0.4), "jump": jump(400)}
WIDE = {"sigmoid": 0.4, "ramp": 0.4, "jump": 0.05}


def only(trajectories, **settings):
    """The one transition of a run that must have exactly one."""
    found = find_transitions(trajectories, **settings)
    assert len(found) == 1, [(one.label, one.midpoint) for one in found]
    return found[0]


# Exact limits


def test_a_constant_run_has_no_transition_and_says_why():
    found = detect(run(a=np.full(len(X), 3.0)))
    assert found.transitions == []
    assert [(one.metric, one.reason) for one in found.skipped] == [("a", "constant")]


def test_a_noise_free_sigmoid_is_recovered_exactly():
    one = only(run(a=sigmoid(400, 0.4)))
    assert one.type == "step"
    assert one.midpoint == pytest.approx(400, rel=1e-3)
    assert np.log10(one.end / one.onset) == pytest.approx(0.4, abs=1e-3)
    seen = sigmoid(400, 0.4)[list(around(STEPS, one.onset, one.end))]
    assert one.support[0].amplitude == pytest.approx(seen[1] - seen[0], abs=1e-3)


def test_a_jump_lies_between_its_two_checkpoints():
    one = only(run(a=jump(400)))
    left, right = STEPS[STEPS <= 400][-1], STEPS[STEPS > 400][0]
    assert one.type == "jump"
    assert (one.onset, one.end) == pytest.approx((left, right))
    assert one.midpoint == pytest.approx(np.sqrt(left * right))


def test_step_zero_is_kept_but_not_fitted():
    steps = np.concatenate([[0], STEPS])
    with_zero = only(run(steps, a=np.concatenate([[50.0], sigmoid(400, 0.4)])))
    assert with_zero.midpoint == pytest.approx(only(run(a=sigmoid(400, 0.4))).midpoint)


# Known answers


@pytest.mark.parametrize("noise", [0.0, 0.03])
@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_fall_is_found_where_it_is_on_every_background(kind, background, noise):
    random = np.random.default_rng(0)
    y = BACKGROUNDS[background] - PLANTED[kind] + noise * random.normal(size=len(X))
    one = only(run(a=y), operating_point="exploratory")
    assert one.support[0].direction == "down"
    # 0.06 decade: a background that falls at the same time shifts the midpoint, least for a jump.
    assert abs(np.log10(one.midpoint / 400)) < (0.01 if kind == "jump" else 0.06)
    assert abs(np.log10(one.end / one.onset) - WIDE[kind]) < 0.15


@pytest.mark.parametrize("apart", [0.5, 0.6, 0.7, 0.75, 0.8, 0.9])
def test_two_equal_steps_near_each_other_are_both_found(apart):
    random, first = np.random.default_rng(7000), 10**2.3
    y = -0.5 * sigmoid(first, 0.2) - 0.5 * sigmoid(first * 10**apart, 0.2) + 0.02 * random.normal(size=len(X))
    dates = [np.log10(one.midpoint) for one in find_transitions(run(a=y))]
    assert dates == pytest.approx([2.3, 2.3 + apart], abs=0.05)


def test_every_step_of_a_count_is_a_jump():
    dates = [15, 40, 2000, 4000]
    found = find_transitions(run(a=sum(jump(date) for date in dates)))
    assert [one.type for one in found] == ["jump"] * 4
    assert [one.midpoint for one in found] == pytest.approx(dates, rel=0.05)


@pytest.mark.parametrize("first", [1_000_000, 1_700_000_000])
def test_a_run_whose_steps_begin_late_is_searched(first):
    steps = first + 10 * np.arange(100)
    fall = 0.5 * (np.arange(100) > 50) + 0.01 * np.sin(np.arange(100) ** 2)
    one = only(run(steps, a=2 - fall, b=0.01 * np.arange(100)))
    assert (one.type, one.onset, one.end) == ("jump", pytest.approx(first + 500), pytest.approx(first + 510))


def test_a_planted_kink_is_found_as_a_kink():
    one = only(run(a=kink(400)), operating_point="exploratory")
    assert one.type == "kink"
    assert one.midpoint == pytest.approx(400, rel=0.02)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_the_interval_of_the_midpoint_holds_the_planted_one(background):
    """9 noisy runs in all: at 95% an interval misses now and then, so two of three must hold it."""
    hits = 0
    for seed in range(3):
        noise = 0.03 * np.random.default_rng(seed).normal(size=len(X))
        one = only(run(a=BACKGROUNDS[background] - sigmoid(400, 0.3) + noise), operating_point="exploratory")
        low, high = one.intervals["midpoint"]
        assert np.log10(high / low) < 0.2  # an interval of everything would hold it too
        hits += low <= 400 <= high
    assert hits >= 2


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_staircase_of_five_modes_keeps_its_five_dates(noise):
    dates = (80, 140, 250, 500, 950)  # half-heights of a deep linear network with singular values 10 … 0.6
    y = sum(sigmoid(date, 0.12) for date in dates) + noise * np.random.default_rng(0).normal(size=len(X))
    found = find_transitions(run(a=y), operating_point="exploratory")
    assert [one.midpoint for one in found] == pytest.approx(dates, rel=0.02)


def test_broad_steps_that_nearly_touch_are_all_found():
    """Each takes half of the way to the next: until 2026-11-22 three of these four runs lost two steps or more.

    Evenly spaced they would be a log-periodic wiggle on a log trend, which is none.
    """
    dates = (1.0, 2.0, 3.2)
    stairs = sum(sigmoid(10**date, 0.55) for date in dates)
    for seed in range(4):
        noise = 0.015 * np.random.default_rng(seed).normal(size=len(X))
        found = find_transitions(run(a=noise - stairs))
        np.testing.assert_allclose(np.log10([one.midpoint for one in found]), dates, atol=0.05)


def test_two_features_that_enter_at_different_dates_stay_two_transitions():
    first, second = sigmoid(300, 0.25), sigmoid(360, 0.25)
    found = find_transitions(run(feature_norm=np.stack([first, second], axis=1), weight_norm=first + second))
    assert [one.label for one in found] == ["feature 0 enters", "feature 1 enters"]
    assert [[s.index for s in one.support if s.metric == "feature_norm"] for one in found] == [[0], [1]]


def test_two_features_that_enter_together_share_one_transition():
    one = only(run(feature_norm=np.stack([sigmoid(300, 0.25), 0.8 * sigmoid(300, 0.25), np.zeros(len(X))], axis=1)))
    assert one.label == "features 0 and 1 enter"


@pytest.mark.parametrize(
    ("size", "material", "count"), [(0.03, None, 1), (0.06, None, 2), (0.06, 0.1, 1), (0.03, 0.005, 2), (0.15, 0.1, 1)]
)
def test_a_small_column_makes_an_event_where_it_is_material(size, material, count):
    """Undeclared, a twenty-fifth of the largest column's range is; of a declared size, twice that."""
    curves = run(norm=np.stack([sigmoid(100, 0.3), size * sigmoid(1500, 0.3)], axis=1))
    if material is not None:
        curves["norm"].attrs["material"] = material
    assert len(find_transitions(curves)) == count


@pytest.mark.slow
@pytest.mark.parametrize("smoothed", [False, True])
def test_small_columns_of_noise_beside_one_that_moves_are_no_events(smoothed):
    """4 runs of 39 null columns each, of correlated noise (0.8) and a slow trend, or of noise that was smoothed, which
    has a far larger range than the distance between neighbours shows: no alarm."""
    window = np.hanning(9)[1:-1]
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(size=(len(X), 40))
        for i in range(1, len(X)):
            noise[i] = 0.8 * noise[i - 1] + 0.6 * noise[i]
        columns = 0.02 * noise + np.linspace(0, 0.1, 40) * np.exp(-STEPS / 300)[:, None]
        if smoothed:
            columns = np.stack([np.convolve(one, window / window.sum(), mode="same") for one in 0.03 * noise.T], axis=1)
        columns[:, 0] += sigmoid(300, 0.3)
        assert [one.support[0].index for one in find_transitions(run(m=columns))] == [0]


@pytest.mark.parametrize(("other", "count"), [(330, 1), (450, 2)])
def test_columns_whose_dates_are_nearer_than_a_quarter_of_their_widths_move_together(other, count):
    heads = np.stack([sigmoid(300, 0.4), 0.9 * sigmoid(other, 0.4)], axis=1)
    assert len(find_transitions(run(heads=heads))) == count


def test_one_point_far_off_does_not_hide_a_change():
    y = sigmoid(300, 0.3)
    y[20] = 1e7
    assert len(find_transitions(run(a=y))) == 1


def test_the_modes_of_a_deep_linear_network_are_all_found_in_one_metric():
    values, dates = (10, 5, 2.5, 1.2, 0.6), (80, 140, 250, 500, 950)
    modes = np.stack([value * sigmoid(date, 0.15) for value, date in zip(values, dates, strict=True)], axis=1)
    found = find_transitions(run(mode_strength=modes))
    assert [[support.index for support in one.support] for one in found] == [[0], [1], [2], [3], [4]]
    assert [one.midpoint for one in found] == pytest.approx(dates, rel=0.02)


@pytest.mark.parametrize(("unit", "count"), [("nats", 1), ("1", 2)])
def test_a_change_below_what_the_unit_calls_material_is_none(unit, count):
    curves = run(loss=0.05 - 0.04 * sigmoid(100, 0.3) + 0.012 * sigmoid(1500, 0.3))
    curves["loss"].attrs["units"] = unit
    assert len(find_transitions(curves)) == count


def test_metrics_that_change_together_share_one_transition_and_the_rest_are_against():
    found = only(run(a=sigmoid(400, 0.3), b=-5 * sigmoid(410, 0.35), c=BACKGROUNDS["power"]))
    assert {one.metric: one.direction for one in found.support} == {"a": "up", "b": "down"}
    assert found.against == ("c",)


def test_grokking_is_memorization_and_then_generalization_with_its_numbers():
    curves = run(
        train_accuracy=0.02 + 0.98 * sigmoid(30, 0.3),
        test_accuracy=0.02 + 0.98 * sigmoid(1500, 0.3),
        test_loss=4 - 4 * sigmoid(1500, 0.3),
        llc=412 - 274 * sigmoid(1500, 0.25),
    )
    curves["llc_se"] = ("step", np.full(len(X), 9.0))
    found = find_transitions(curves)
    assert [one.label for one in found] == ["memorization", "generalization"]
    for text in (
        "the network generalized: test accuracy 0.10 → 0.92",
        "test loss 3.66 → 0.32",
        "LLC 397 ± 9 → 152 ± 9",
    ):
        assert text in found[1].description
    assert "steps 1,0" in found[1].description or "steps 1,1" in found[1].description


def test_memorization_is_not_claimed_where_nobody_measured_the_test_set():
    assert only(run(train_loss=4 - 4 * sigmoid(300, 0.3))).label == "train loss"


def test_a_change_beside_which_checkpoints_are_few_is_reported_as_unresolvable():
    y = np.where(np.arange(len(X)) >= len(X) - 3, 1.0, 0.0)
    one = only(run(a=y, b=-2 * y), operating_point="exploratory")
    assert not one.resolvable


def test_a_change_still_going_on_at_the_end_is_dated_and_sized_within_the_run():
    last = int(STEPS[-1])
    rising = sigmoid(0.95 * last, 0.4)
    found = find_transitions(run(a=rising), operating_point="exploratory")
    assert found
    for one in found:
        assert one.end <= last
        assert one.intervals["end"][1] <= last * (1 + 1e-9)
        assert abs(one.support[0].amplitude) <= 1.1 * np.ptp(rising)
        assert not one.resolvable


def test_a_declared_intervention_labels_the_transition_near_it():
    changes = run(a=jump(400) + jump(3000))
    found = find_transitions(changes, exogenous={400: "learning rate / 10"}, operating_point="exploratory")
    assert [one.exogenous for one in found] == ["learning rate / 10", None]


def test_stages_and_transitions_name_a_column_alike():
    """Frequencies start at 1; a column named by a text is told by its place."""
    columns = np.stack([0 * X, 1 + jump(400)], axis=1)
    for dimension, names, number in (("frequency", [1, 2], 2), ("parameter", ["embed", "unembed"], 1)):
        curves = xr.Dataset({"mine": (("step", dimension), columns)}, coords={"step": STEPS, dimension: names})
        found = detect(curves)
        assert [one.index for change in found.transitions for one in change.support] == [number]
        assert list(found.stages[0].metrics) == [f"mine[{number - 1}]", f"mine[{number}]"]


def test_stages_are_the_stretches_between_transitions():
    found = detect(run(a=2 * jump(400)))
    assert [(one.first, one.last) for one in found.stages] == [(1, 392), (409, 10_000)]
    assert [one.metrics["a"]["level"] for one in found.stages] == [0, 2]
    assert found.stages[0].last < found.stages[1].first


def test_json_has_exactly_the_fields_of_the_schema():
    found = detect(run(a=jump(400)))
    one = json.loads(json.dumps(found.transitions[0].to_json()))
    assert set(one) == {
        *("onset", "midpoint", "end", "id", "type", "confidence", "resolvable", "intervals", "support", "against"),
        *("label", "description", "exogenous"),
    }
    assert set(one["support"][0]) == {"metric", "index", "direction", "amplitude", "log_bayes_factor"}
    assert one["id"] == "t1"
    assert set(json.loads(json.dumps(found.stages[0].to_json()))) == {"first", "last", "metrics", "label"}


# Slow curves are no transitions


@pytest.mark.parametrize("tau", [3, 10, 50, 200, 1000, 5000])
def test_exponential_relaxation_is_no_transition(tau):
    assert find_transitions(run(a=np.exp(-STEPS / tau)), operating_point="exploratory") == []


@pytest.mark.parametrize("exponent", [0.1, 0.3, 0.5, 1.0, 2.0])
def test_a_power_law_is_no_transition(exponent):
    assert find_transitions(run(a=STEPS ** (-exponent)), operating_point="exploratory") == []


@pytest.mark.parametrize("period", [0.4, 0.6, 0.8, 1.0])
def test_log_periodic_oscillation_is_no_transition(period):
    x = X[::3]
    wiggle = np.cos(2 * np.pi * x / period)
    assert find_transitions(run(STEPS[::3], a=wiggle, b=0.3 * wiggle - x), operating_point="exploratory") == []


@pytest.mark.parametrize("periods", [3, 5, 8])
@pytest.mark.parametrize("size", [0.06, 0.12])
def test_what_repeats_in_even_steps_is_no_transition(periods, size):
    """Epochs, cycles of the learning rate: a wave in steps, not in their logarithm."""
    for seed in range(3):
        random = np.random.default_rng(seed)
        slow = (1 + EVEN / 500) ** -random.uniform(0.3, 1)
        wave = size * np.ptp(slow) * np.sin(2 * np.pi * periods * EVEN / EVEN[-1] + random.uniform(0, 6))
        assert find_transitions(run(EVEN, a=slow + wave + 0.005 * random.normal(size=len(EVEN)))) == []


@pytest.mark.parametrize("tau", [0.05, 0.1, 0.2, 0.25])
def test_a_spike_and_its_recovery_are_no_transition(tau):
    """Up at one checkpoint, back as exp(-decades / tau): 10 to 90% of it take 2.2 tau."""
    for seed in range(5):
        random = np.random.default_rng(seed)
        at = np.flatnonzero(random.uniform(1.5, 3.2) < X)[0]  # early enough to come back within the run
        spike = np.where(STEPS[at] <= STEPS, np.exp(-(X - X[at]) / tau), 0)
        curve = (1 + STEPS / 20) ** -0.5 + random.uniform(0.3, 1) * spike + 0.005 * random.normal(size=len(X))
        assert find_transitions(run(a=curve)) == []


@pytest.mark.slow
def test_white_noise_alarms_at_most_once_in_forty_runs():
    """Measured: 0 alarms in 40 runs of two metrics, strict; one is allowed."""
    alarms = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        alarms += len(find_transitions(run(a=random.normal(size=len(X)), b=random.normal(size=len(X)))))
    assert alarms <= 1


def _on_one_batch(seed: int, rho: float, change: np.ndarray) -> xr.Dataset:
    """Eight metrics on power laws of their own, nine tenths of whose noise is the same; one has the change."""
    random = np.random.default_rng([seed, 7])
    common = lfilter([np.sqrt(1 - rho**2)], [1, -rho], random.normal(size=len(X) + 200))[200:]
    curves = {}
    for i in range(8):
        noise = 0.9**0.5 * random.choice([-1, 1]) * common + 0.1**0.5 * random.normal(size=len(X))
        slow = random.uniform(0.5, 2) * (1 + STEPS / 20) ** -0.5
        curves[f"m{i}"] = slow + 0.05 * noise + (change if i == 3 else 0)
    return run(**curves)


@pytest.mark.slow
def test_noise_that_eight_metrics_share_is_no_evidence_eight_times():
    """Measured: 1 alarm in 24 runs (before: 5 in 12 of them); three are allowed. A change of one metric is found."""
    alarms = sum(len(find_transitions(_on_one_batch(seed, rho, 0 * X))) for seed in range(12) for rho in (0.0, 0.5))
    assert alarms <= 3
    for seed in range(6):
        (one,) = find_transitions(_on_one_batch(seed, 0.0, 0.5 * sigmoid(400, 0.4)))
        assert one.support[0].metric == "m3"


EVEN = 100 * np.arange(1, 201)
COUNTED = {
    "coin": lambda random: (EVEN, random.random(200) < 0.5),
    "rare coin": lambda random: (EVEN, random.random(200) < 0.1),
    "few events": lambda random: (STEPS, random.poisson(0.3, len(STEPS))),
    "share of eight": lambda random: (EVEN, random.binomial(8, 0.5, 200) / 8),
    "slow fall, rounded": lambda random: (EVEN, np.round(np.exp(-EVEN / random.uniform(1000, 20_000)), 1)),
    "power law, rounded": lambda random: (STEPS, np.round(3 * (1 + STEPS / 30) ** -random.uniform(0.2, 1), 1)),
}


@pytest.mark.slow
def test_coins_counts_and_rounded_curves_alarm_at_most_once_in_thirty_runs():
    """Measured: 2 alarms in 60 runs, strict (before: 1 to 2 in each run); two are allowed."""
    alarms = 0
    for made in COUNTED.values():
        for seed in range(10):
            steps, y = made(np.random.default_rng(seed))
            alarms += len(find_transitions(run(steps, a=y.astype(float))))
    assert alarms <= 2


def test_a_jump_is_between_its_two_checkpoints_however_few_lie_beside_it():
    """Of ten runs with 3 checkpoints on one side; before, half were dated one gap off."""
    steps = 100.0 * np.arange(1, 41)
    for before in (3, 37):
        for seed in range(10):
            y = (np.arange(40) >= before) + 0.02 * np.random.default_rng(seed).normal(size=40)
            (one,) = find_transitions(run(steps, test_accuracy=y))
            assert steps[before - 1] <= one.midpoint <= steps[before]


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.003, 0.03])
def test_a_rise_against_a_falling_trend_is_found_however_quiet_the_curve(noise):
    """Of 30 runs; two may be missed. Measured: 0 or 1 missed (before: 3 and 4 where there is little noise)."""
    found = 0
    for seed in range(30):
        random = np.random.default_rng([seed, 77])
        centre, width, tau = random.uniform(1.5, 4), random.uniform(0.2, 0.6), 10 ** random.uniform(0, 3)
        steps = np.unique(np.geomspace(1, 1e5, 187).round())[-150:]
        y = (1 + steps / tau) ** -0.4 + sigmoid(10**centre, width, steps) + noise * random.normal(size=len(steps))
        dates = [np.log10(one.midpoint) for one in find_transitions(run(steps, a=y), operating_point="exploratory")]
        found += any(abs(date - centre) < width / 2 + 0.05 for date in dates)
    assert found >= 28


@pytest.mark.slow
def test_a_wiggle_that_decays_with_its_power_law_is_an_oscillation():
    """16 runs, at most 1 alarm. Measured: 0 (before: 3)."""
    alarms = 0
    for seed in range(16):
        random = np.random.default_rng([seed, 6])
        period, phase = random.uniform(0.4, 0.8), random.uniform(0, 2 * np.pi)
        wave = 1 + random.choice([0.1, 0.2]) * np.cos(2 * np.pi * np.log10(STEPS) / period + phase)
        alarms += len(find_transitions(run(a=STEPS**-0.3 * wave + 0.003 * random.normal(size=len(STEPS)))))
    assert alarms <= 1


# Invariance


def inside(one, other):
    return all(other.intervals[name][0] <= getattr(one, name) <= other.intervals[name][1] for name in other.intervals)


@pytest.fixture(scope="module")
def noisy():
    random = np.random.default_rng(1)
    y = {name: BACKGROUNDS["power"] + 0.03 * random.normal(size=len(X)) for name in ("a", "b", "c")}
    y["a"], y["b"] = y["a"] - sigmoid(120, 0.3), y["b"] + 2 * sigmoid(1500, 0.2)
    return y


def test_rescaling_a_metric_moves_nothing(noisy):
    before = find_transitions(run(**noisy))
    after = find_transitions(run(**{name: 7 - 250 * y for name, y in noisy.items()}))
    assert len(before) == len(after) == 2
    assert all(inside(one, other) for one, other in zip(after, before, strict=True))


@pytest.mark.parametrize(("factor", "zero"), [(1e-150, 0), (1e-9, 0), (-1e6, 0), (1e160, 0), (1, 1e8), (1e-3, -1e6)])
def test_neither_the_unit_nor_the_zero_of_a_metric_matters(noisy, factor, zero):
    before = find_transitions(run(**noisy))
    after = find_transitions(run(**{name: zero + factor * y for name, y in noisy.items()}))
    assert [one.midpoint for one in after] == pytest.approx([one.midpoint for one in before], rel=1e-3)
    assert [one.confidence for one in after] == pytest.approx([one.confidence for one in before], abs=0.01)


def test_the_order_of_metrics_does_not_matter(noisy):
    before = find_transitions(run(**noisy))
    after = find_transitions(run(**dict(reversed(noisy.items()))))
    assert [one.midpoint for one in before] == [one.midpoint for one in after]


def test_steps_times_a_factor_gives_dates_times_that_factor(noisy):
    before = find_transitions(run(**noisy))
    after = find_transitions(run(STEPS * 8, **noisy))
    assert [one.midpoint / 8 for one in after] == pytest.approx([one.midpoint for one in before], rel=0.05)


def test_twice_as_many_checkpoints_move_no_event_by_more_than_its_interval():
    dense = np.unique(np.round(np.geomspace(1, 10_000, 700)).astype(int))
    x = np.log10(dense)
    random = np.random.default_rng(3)
    change = 1 / (1 + np.exp(-2 * np.log(9) * (x - 2.6) / 0.3))
    y = (1 + dense / 20.0) ** -0.7 - change + 0.03 * random.normal(size=len(x))
    (every,), (half,) = (find_transitions(run(dense[part], a=y[part])) for part in (slice(None), slice(None, None, 2)))
    assert inside(every, half)


@pytest.mark.slow
def test_two_hundred_columns_of_noise_alarm_no_more_than_one_curve():
    """Columns of one metric: 0 alarms measured in 200 at the strict point; one is allowed."""
    noise = np.random.default_rng(0).normal(size=(len(X), 200))
    assert len(find_transitions(run(feature_norm=noise))) <= 1


def test_missing_values_are_tolerated(noisy):
    holes = {name: np.where(np.random.default_rng(2).random(len(X)) < 0.15, np.nan, y) for name, y in noisy.items()}
    before, after = find_transitions(run(**noisy)), find_transitions(run(**holes))
    assert [one.midpoint for one in after] == pytest.approx([one.midpoint for one in before], rel=0.1)


def test_the_same_run_gives_the_same_numbers(noisy):
    assert [one.to_json() for one in find_transitions(run(**noisy))] == [
        one.to_json() for one in find_transitions(run(**noisy))
    ]


# Failure texts


@pytest.mark.parametrize("count", [1, 5, 9])
def test_a_short_run_is_no_error_but_says_how_many_checkpoints_are_needed(count):
    found = detect(run(STEPS[:count], a=np.arange(count, dtype=float)))
    assert found.transitions == []
    few = f"{counted(count, 'checkpoint')} with a finite value after step 0"
    assert found.skipped[0].reason == f"{few}; at least 10 are needed"


def test_what_is_not_a_curve_is_skipped_with_a_reason():
    curves = run(a=jump(400), b=jump(400)).assign(
        llc_flags=("step", np.full(len(X), "")),
        llc_rhat=("step", jump(400)),
        cube=(("step", "u", "v"), np.zeros((len(X), 2, 2))),
    )
    curves["b"].attrs["detect"] = 0
    reasons = {one.metric: one.reason for one in detect(curves).skipped}
    assert set(reasons) == {"b", "llc_flags", "llc_rhat", "cube"}
    assert "detect = False" in reasons["b"]
    assert "3 dimensions" in reasons["cube"]


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([1, 3, 2], r"step 2 comes after step 3 \(row 2\); expected steps that increase\. Sort and deduplicate them"),
        ([1, 2, 2], r"step 2 repeats step 2 \(row 2\); expected steps that increase"),
        ([-1, 2, 3], "the first step is -1; expected optimizer steps that start at 0 or later"),
    ],
)
def test_steps_that_do_not_increase_are_an_error(steps, text):
    with pytest.raises(DeviError, match=text):
        find_transitions(run(np.array(steps), a=np.zeros(3)))


@pytest.mark.parametrize(("steps", "columns"), [(0, 3), (20, 0)])
def test_a_table_without_rows_or_columns_is_skipped(steps, columns):
    found = detect(run(np.arange(1, steps + 1), a=np.zeros((steps, columns))))
    assert [one.metric for one in found.skipped] == ["a"]


def test_a_run_without_steps_is_an_error():
    with pytest.raises(DeviError, match=r"no coordinate 'step'.*assign_coords"):
        find_transitions(xr.Dataset({"a": ("step", np.zeros(20))}))


@pytest.mark.parametrize("curves", [{"a": [1.0, 2.0]}, [1.0, 2.0], None, xr.DataArray(np.zeros(20), dims="step")])
def test_what_is_no_dataset_is_an_error_that_says_how_to_make_one(curves):
    with pytest.raises(DeviError, match=r"expected an xarray\.Dataset along `step`: xr\.Dataset\("):
        find_transitions(curves)


def test_an_unknown_operating_point_names_the_known_ones():
    with pytest.raises(DeviError, match=r"no operating point is called 'strickt'. Did you mean 'strict'\?"):
        find_transitions(run(a=jump(400)), operating_point="strickt")


def test_metrics_that_end_at_different_steps_are_searched_together():
    """A change after the last checkpoint of another metric leaves that one without a row to fit it by."""
    random = np.random.default_rng(0)
    steps = np.unique(np.round(np.logspace(0, 4, 80))).astype(int)
    x = np.log10(steps)
    short = 1 / (1 + np.exp(-(x - 1) / 0.05)) + 0.01 * random.standard_normal(len(x))
    short[x > 2] = np.nan
    long = 1 / (1 + np.exp(-(x - 3.3) / 0.01)) + 0.01 * random.standard_normal(len(x))
    data = xr.Dataset({"aa": ("step", short), "bb": ("step", long)}, coords={"step": steps})
    found = [transition.midpoint for transition in detect(data).transitions]
    assert np.allclose(np.log10(found), [1.0, 3.3], atol=0.05)


# What a referee tried


@pytest.mark.parametrize("left", [3, 10])
def test_a_jump_just_before_the_end_of_evenly_spaced_checkpoints_is_no_spike_that_has_not_come_back(left):
    """20 times the noise. With spikes of 0.1 decades allowed there 13 of 40 were taken for one (by hand)."""
    steps = 50 * np.arange(1, 201)
    for seed in range(6):
        values = np.where(np.arange(200) >= 200 - left, 1.0, 0.0) + 0.05 * np.random.default_rng(seed).normal(size=200)
        one = only(xr.Dataset({"a": ("step", values)}, coords={"step": steps}))
        assert one.type == "jump"
        assert one.onset <= steps[-left] <= one.end * 1.001


def test_a_rise_and_a_fall_are_one_transient_whatever_shape_their_flanks_have():
    """5 up and 5 down within 0.55 decades, noise 0.3: 8 of 40 came as two, for a flank was a ramp (by hand)."""
    for seed in range(8):
        random = np.random.default_rng(seed)
        centre = random.uniform(2, 3.5)
        bump = 5 * (1 / (1 + np.exp(-29.3 * (X - centre + 0.2))) - 1 / (1 + np.exp(-29.3 * (X - centre - 0.2))))
        one = only(run(llc=10 + bump + 0.3 * random.normal(size=len(X))))
        assert one.type == "transient"


def test_a_curve_that_moves_far_from_a_wide_gap_takes_no_event_away():
    """The loss falls in a gap of a decade; an accuracy that rises a quarter decade later used to swallow it."""
    steps = np.unique(np.round(np.logspace(0, 4, 120)).astype(int))
    steps = steps[(steps <= 100) | (steps >= 900)]
    x, random = np.log10(steps), np.random.default_rng(0)
    loss = 2.3 - 1.5 / (1 + np.exp(-14.6 * (x - 2.5))) + 0.02 * random.normal(size=len(x))
    acc = 0.1 + 0.8 / (1 + np.exp(-29.3 * (x - 3.25))) + 0.01 * random.normal(size=len(x))
    (alone,) = find_transitions(xr.Dataset({"loss": ("step", loss)}, coords={"step": steps}))
    both = find_transitions(xr.Dataset({"loss": ("step", loss), "acc": ("step", acc)}, coords={"step": steps}))
    assert [{s.metric for s in one.support} for one in both] == [{"loss"}, {"acc"}]
    assert both[0].midpoint == pytest.approx(alone.midpoint, rel=0.01)


def test_a_change_between_two_checkpoints_may_begin_and_end_anywhere_between_them():
    steps = np.unique(np.round(np.logspace(0, 4, 60)).astype(int))
    place = len(steps) // 2
    values = np.where(np.arange(len(steps)) >= place, 1.0, 0.0) + 0.02 * np.random.default_rng(0).normal(
        size=len(steps)
    )
    one = only(xr.Dataset({"a": ("step", values)}, coords={"step": steps}))
    for low, high in one.intervals.values():
        assert low <= steps[place - 1] * 1.001
        assert high >= steps[place] * 0.999


def test_what_was_declared_when_most_of_a_change_was_done_is_not_its_cause():
    values = sigmoid(400, 0.6) + 0.02 * np.random.default_rng(0).normal(size=len(X))
    late, early = (only(run(a=values), exogenous={step: "lr/10"}) for step in (780, 210))
    assert late.exogenous is None
    assert early.exogenous == "lr/10"


def test_every_search_of_a_run_counts_against_what_one_of_them_finds():
    columns = np.stack([sigmoid(400, 0.3)] * 4, axis=1)
    curves, _ = curves_of(run(feature_norm=columns, **{f"m{i}": sigmoid(400, 0.3) for i in range(9)}))
    assert {curve.searches for together in bundles_of(curves) for curve in together} == {4 + 2}


def test_a_power_law_rounded_to_two_or_three_levels_has_no_transition():
    steps = np.unique(np.round(np.geomspace(1, 20_000, 30)))
    found = 0
    for seed in range(20):
        random = np.random.default_rng([77, seed])
        fall = random.uniform(0.3, 0.8) * (1 + steps / random.uniform(10, 3000)) ** -random.uniform(0.2, 0.7)
        found += len(find_transitions(xr.Dataset({"loss": ("step", np.round(fall, 1))}, coords={"step": steps})))
    assert found <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"exogenous": [400]}, "exogenous is [400], of class list; expected a mapping of steps"),
        ({"exogenous": {None: "lr"}}, "exogenous has the key None; expected optimizer steps as numbers"),
        ({"operating_point": None}, "no operating point is called 'None'"),
        ({"seed": -1}, "the seed is -1; expected a whole number of 0 or more"),
    ],
)
def test_an_argument_that_says_nothing_is_refused_with_what_is_expected(arguments, message):
    with pytest.raises(DeviError, match=re.escape(message)):
        find_transitions(run(a=STEPS > 400), **arguments)


def test_a_curve_whose_name_is_no_text_is_refused():
    with pytest.raises(DeviError, match="the name of a curve is 3, of class int; expected text"):
        find_transitions(run(a=STEPS > 400).rename({"a": 3}))


@pytest.mark.parametrize("errors", [np.ones((len(STEPS), 2)), np.full(len(STEPS), "0.1")])
def test_standard_errors_that_do_not_fit_their_metric_are_left_out_and_told(errors):
    curves = run(a=(STEPS > 400).astype(float))
    found = detect(curves.assign(a_se=(("step", "bound")[: errors.ndim], errors)))
    assert len(found.transitions) == 1
    assert "a_se is left out: it h" in found.notices[0]


def test_one_standard_error_of_a_metric_serves_everywhere():
    curves = run(a=(STEPS > 400).astype(float))
    (one,) = find_transitions(curves.assign(a_se=((), 0.05)))
    assert "± 0.05" in one.description
