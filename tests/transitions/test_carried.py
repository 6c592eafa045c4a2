"""Values carried forward: which are kept, and which repeated values are no such thing. All rows are 10 steps apart."""

from __future__ import annotations

import numpy as np
import pytest

from devi.transitions.carried import measured, without_carried
from devi.transitions.fusion import detect
from tests.transitions.planted import run

ROWS = np.arange(600)
NOISE = np.random.default_rng(0).normal(size=len(ROWS))
LOSS = 2 * (ROWS + 1.0) ** -0.3 + 0.02 * NOISE


@pytest.mark.parametrize("period", [2, 3, 10])
def test_of_values_carried_forward_the_first_of_each_stretch_is_kept(period):
    kept = measured(10.0 * ROWS, LOSS[ROWS // period * period])
    assert np.flatnonzero(kept).tolist() == list(range(0, len(ROWS), period))


def test_evaluations_between_rows_and_on_a_logarithmic_schedule_are_known_too():
    for begins in (ROWS / 7.8, 20 * np.log10(ROWS + 1)):
        first = np.diff(np.floor(begins), prepend=-1) > 0
        held = LOSS[np.maximum.accumulate(np.where(first, ROWS, 0))]
        assert np.array_equal(measured(1.0 + ROWS, held), first)


def test_an_evaluation_that_gives_the_same_value_again_is_kept():
    accuracy = np.where(ROWS < 400, LOSS, 1.0)
    kept = measured(10.0 * ROWS, accuracy[ROWS // 10 * 10])
    assert kept[400:].sum() == 20


@pytest.mark.parametrize(
    "values",
    [
        np.minimum(np.maximum(ROWS / 200 + 0.02 * NOISE, 0), 1),
        np.round(LOSS, 1),
        np.round(ROWS / 600, 2),
        np.round(1 / (1 + np.exp(-(ROWS - 200) / 20)), 2),
        np.random.default_rng(0).binomial(20, 0.98, len(ROWS)) / 20,
        np.repeat(np.random.default_rng(0).integers(0, 9, 60), 10).astype(float),
        np.full(len(ROWS), 0.5),
    ],
    ids=["bounded", "rounded", "rounded ramp", "rounded step", "few examples", "counts", "constant"],
)
def test_values_that_repeat_by_themselves_are_all_kept(values):
    assert measured(10.0 * ROWS, values).all()


def test_a_staircase_of_evaluations_is_no_row_of_jumps_and_that_is_told():
    steps = 10 * (ROWS + 1)
    held = run(steps, val=LOSS[ROWS // 10 * 10], train=LOSS)
    found = detect(held)
    assert found.transitions == []
    assert found.notices == [
        "val: values are repeated from one evaluation to the next; only the first of each stretch is searched."
    ]
    thinned, _ = without_carried(held)
    assert without_carried(thinned) == (thinned, [])
