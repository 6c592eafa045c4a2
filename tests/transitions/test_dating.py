"""Dates and how far they may be off: the bootstrap agrees with theory, and intervals hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from devi.transitions.dating import REPLICATES, drawn_noise
from devi.transitions.detector import WIDER
from devi.transitions.fusion import find_transitions
from tests.transitions.planted import STEPS, X, run, sigmoid


@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_drawn_noise_has_the_variance_and_the_correlation_of_the_residual(rho):
    random = np.random.default_rng(0)
    residual = random.normal(size=4000)
    for i in range(1, len(residual)):
        residual[i] = rho * residual[i - 1] + np.sqrt(1 - rho**2) * residual[i]
    noise = drawn_noise(2 * residual, random)
    assert noise.shape == (4000, REPLICATES)
    assert np.var(noise) == pytest.approx(4, rel=0.1)
    assert np.mean(noise[1:] * noise[:-1]) / np.var(noise) == pytest.approx(rho, abs=0.05)


def test_an_interval_is_as_wide_as_theory_says():
    """Centre of a logistic of amplitude A, scale s, white noise sigma, n points a decade: var = 6 s sigma² / (A² n).

    That is for the noise alone; WIDER is for what the noise does not know.
    """
    noise, scale = 0.1, 0.4 / (2 * np.log(9))
    y = sigmoid(400, 0.4) + noise * np.random.default_rng(0).normal(size=len(X))
    (one,) = find_transitions(run(a=y))
    low, high = one.intervals["midpoint"]
    density = np.sum((X > 2) & (X < 3.2)) / 1.2
    wanted = WIDER * 2 * 1.645 * np.sqrt(6 * scale * noise**2 / density)
    # A slow null beside it takes up part of the change: wider than theory by up to 60%.
    assert 0.8 * wanted < np.log10(high / low) < 1.6 * wanted


def test_the_same_seed_gives_the_same_interval_and_another_nearly_so():
    y = sigmoid(400, 0.4) + 0.1 * np.random.default_rng(0).normal(size=len(X))
    width = [np.log10(np.divide(*find_transitions(run(a=y), seed=seed)[0].intervals["midpoint"])) for seed in (0, 0, 1)]
    assert width[0] == width[1]
    assert width[2] == pytest.approx(width[0], rel=0.3)


def test_a_jump_is_anywhere_between_its_checkpoints():
    (one,) = find_transitions(run(a=(STEPS > 400).astype(float)))
    low, high = one.intervals["midpoint"]
    gap = one.end / one.onset
    assert high / low == pytest.approx(gap**0.9, rel=0.01)


@pytest.mark.parametrize("count", [30, 60])
def test_a_jump_between_few_noisy_checkpoints_is_not_dated_to_anywhere(count):
    """No checkpoint sees it go on: the bootstrap's one step led over the whole run."""
    steps = np.unique(np.round(np.geomspace(1, 100_000, count)))
    place = len(steps) // 2
    for seed in range(5):
        noise = 0.01 * np.random.default_rng(seed).normal(size=len(steps))
        (one,) = find_transitions(run(steps, a=noise - 0.5 * (np.arange(len(steps)) >= place)))
        low, high = one.intervals["midpoint"]
        before, after = steps[place - 1 : place + 1]
        assert low < np.sqrt(before * after) < high
        assert high / low <= (after / before) ** 3


@pytest.mark.slow
def test_at_least_nine_of_ten_intervals_hold_the_planted_midpoint():
    """60 runs of two noisy curves of a shape that is known: WIDER makes 96.0% of 90%; fewer than 53 held: 0.3%."""
    held = found = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        curves = {name: sigmoid(400, 0.4) + 0.12 * random.normal(size=len(X)) for name in "ab"}
        for one in find_transitions(run(**curves))[:1]:
            found += 1
            held += one.intervals["midpoint"][0] <= 400 <= one.intervals["midpoint"][1]
    assert found >= 58
    assert held >= 53


# 85% are expected (by hand): fewer than three of four by chance in one set of 39 seeds of 20. They held 28 of 40 and 27
# of 39 where the bootstrap knew the one null that was chosen.
@pytest.mark.slow
@pytest.mark.parametrize("form", ["power", "exponential"])
def test_intervals_hold_the_midpoint_of_a_step_in_a_loss_that_falls_anyway(form):
    held = found = 0
    for seed in range(40):
        random = np.random.default_rng([31, seed])
        steps = np.unique(np.round(np.geomspace(2, 20_000, int(random.choice([150, 320])))))
        midpoint, width = 10 ** random.uniform(2.5, 4), random.uniform(0.2, 0.6)
        slow = {"power": 2 * (1 + steps / 100) ** -0.4, "exponential": 2 * np.exp(-((steps / 800) ** 0.7))}[form]
        fall = 1.2 / (1 + np.exp(-2 * np.log(9) * np.log10(steps / midpoint) / width))
        loss = slow + 2 - fall + 0.05 * random.normal(size=len(steps))
        table = xr.Dataset({"loss": ("step", loss)}, coords={"step": steps})
        for one in find_transitions(table):
            if abs(np.log10(one.midpoint / midpoint)) < width / 2:
                low, high = one.intervals["midpoint"]
                found, held = found + 1, held + (low <= midpoint <= high)
    assert found >= 30
    assert held >= 0.75 * found
