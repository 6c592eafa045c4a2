"""Many rows as means: what stays as it is, what a mean and its error are, and that dates stay where they were."""

from __future__ import annotations

import numpy as np
import pytest

from devi.transitions.curves import curves_of
from devi.transitions.fusion import detect
from devi.transitions.means import MOST, averaged
from tests.transitions.planted import run

LONG = np.arange(30_001)


def test_a_table_of_few_rows_is_left_as_it_is():
    trajectories = run(np.arange(MOST), a=np.arange(MOST) * 0.5)
    assert averaged(trajectories)[0] is trajectories
    again = averaged(averaged(run(LONG, a=LONG * 0.5))[0])
    assert again[1] == []


def test_early_rows_stay_single_and_later_ones_become_means_even_in_the_logarithm():
    found, (told,) = averaged(run(LONG, a=2.0 * LONG))
    steps = found["step"].values
    assert told == f"30,001 rows are searched as {len(steps):,} means, even in log10(step)."
    assert MOST - 5 <= len(steps) <= MOST
    assert steps[:100].tolist() == list(range(100))
    assert np.ptp(np.diff(np.log10(steps[steps > 3000]))) < 5e-4  # of 1.7e-3: whole rows
    assert found["a"].values == pytest.approx(2.0 * steps, rel=1e-3, abs=1.0)


def test_a_mean_leaves_out_what_is_missing_and_has_the_error_of_a_mean():
    values, errors = np.ones(len(LONG)), np.full(len(LONG), 0.3)
    values[::2] = errors[::2] = np.nan
    trajectories = run(LONG, llc=values, llc_se=errors)
    trajectories["llc_flags"] = ("step", np.full(len(LONG), "", dtype=object))
    found, _ = averaged(trajectories)
    last = int(np.sum(np.sqrt(np.prod(found["step"].values[-2:])) < LONG))
    assert found["llc"].values[-1] == 1.0
    assert found["llc_se"].values[-1] == pytest.approx(0.3 / np.sqrt(last / 2), rel=0.05)
    assert found["llc_flags"].values[-1] == ""


def test_columns_keep_their_dimension_and_what_their_values_were_rounded_to():
    a = np.round(np.random.default_rng(0).normal(size=(len(LONG), 2)), 1)
    found, _ = averaged(run(LONG, a=a))
    assert found["a"].dims == ("step", "feature")
    curves, _ = curves_of(found.assign(a=found["a"] + np.linspace(0, 9, found.sizes["step"])[:, None]))
    assert [one.material for one in curves] == pytest.approx([0.15, 0.15])


def test_one_wild_row_is_no_part_of_a_mean():
    values = np.zeros(len(LONG))
    values[25_000] = 1e6
    assert not np.any(averaged(run(LONG, a=values))[0]["a"].values)


@pytest.mark.parametrize("seed", range(3))
def test_a_jump_among_many_rows_is_dated_to_a_bin(seed):
    random = np.random.default_rng(seed)
    at = int(random.uniform(4000, 20_000))
    found = detect(run(LONG, a=2 * (LONG + 50.0) ** -0.3 - 0.3 * (at < LONG) + 0.05 * random.normal(size=len(LONG))))
    (one,) = found.transitions
    assert abs(np.log10(one.midpoint / at)) < 2e-3
    assert found.notices == averaged(run(LONG, a=LONG))[1]


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_the_noise_of_early_rows_is_that_of_a_row_also_where_its_neighbours_are_alike(rho):
    """Its size is 1, and with neighbours alike their distances say 0.26; the correlation is known to a tenth."""
    noise = np.random.default_rng(0).normal(size=len(LONG))
    for i in range(1, len(LONG)):
        noise[i] = rho * noise[i - 1] + np.sqrt(1 - rho**2) * noise[i]
    found, _ = averaged(run(LONG, a=noise))
    least = found["a"].attrs["noise"][:, 0]
    assert 0.6 < np.median(least[1:200]) < 1.2
    rows = np.diff(found["step"].values[-2:])[0]
    assert least[-1] == pytest.approx(np.sqrt((1 + rho) / (1 - rho) / rows), rel=0.6)
