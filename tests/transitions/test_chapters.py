"""What stages are called: memorization, circuit formation, cleanup, polygons, or what falls and rises."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from devi.transitions.chapters import STILL, named_stage
from devi.transitions.fusion import detect
from tests.transitions.planted import STEPS, X, jump, run, sigmoid

PART = (STEPS >= 100) & (STEPS <= 5000)  # the stage that is looked at
LATER = sigmoid(700, 1.2)  # in that stage, and too slow for a transition


def line(curves, inside=PART):
    return named_stage(curves, inside, [str(name) for name in curves.data_vars if curves[name].dtype.kind == "f"])


def modular(**curves):
    """A network that has memorized: train accuracy is 1, test accuracy 0, and the rest stands still."""
    still = {"train_accuracy": 1.0 - (X == 0), "test_accuracy": jump(6000), "test_loss": 9 - jump(6000)}
    return run(**{**still, "restricted_loss": 4 - jump(6000), "weight_norm": 50 - jump(6000), **curves})


def test_a_stage_in_which_nothing_moves_says_so():
    assert line(run(a=jump(6000))) == STILL


def test_a_stage_of_one_checkpoint_has_no_course():
    assert line(run(a=X), np.arange(len(X)) == 5) == "one checkpoint"


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_a_stage_of_few_checkpoints_is_told_by_its_ends(count):
    few = np.arange(len(X)) < count
    assert line(run(test_accuracy=np.minimum(0.2 * np.arange(len(X)), 1)), few).startswith("test accuracy rises 0")
    assert line(run(test_accuracy=jump(6000)), few) == (STILL if count > 3 else f"{count} checkpoints")
    assert line(run(test_accuracy=np.where(few, np.nan, X)), few) == f"{count} checkpoints"


def test_what_moves_is_told_with_its_levels_first_rank_first():
    curves = run(mine=5 * LATER, test_loss=4 - 3 * LATER, weight_norm=LATER, steady=jump(6000))
    assert line(curves).startswith("test loss falls 3.")
    assert ", mine rises 0." in line(curves)
    assert "weight norm" not in line(curves)
    assert line(run(weight_norm=LATER)).startswith("weight norm rises")


def test_learning_the_training_set_alone_is_memorization():
    assert line(modular(train_accuracy=LATER)).startswith("memorization: train accuracy rises")
    assert not line(modular(train_accuracy=LATER, test_accuracy=LATER)).startswith("memorization")
    follows = modular(train_accuracy=0.6 + 0.3 * LATER / LATER.max(), test_accuracy=0.6 + 0.25 * LATER / LATER.max())
    assert not line(follows).startswith("memorization")  # the test set gains nearly as much


def test_what_moves_within_its_own_errors_does_not_move():
    errors = {"llc_se": ("step", np.full(len(X), 0.8))}
    assert line(run(llc=LATER)).startswith("LLC rises")
    inside = run(llc=LATER).assign(errors)
    assert named_stage(inside, PART, ["llc"]) == STILL


@pytest.mark.parametrize("count", [20, 50, 200])
def test_noise_alone_does_not_rise_or_fall(count):
    """200 curves: a level's error says that 1 in 17 moves, and at most 1 in 8 is let pass; false alarms below 1e-3."""
    told = []
    for seed in range(200):
        values = 1 + 0.01 * np.random.default_rng(seed).normal(size=count)
        curves = xr.Dataset({"loss": ("step", values)}, coords={"step": np.arange(1, count + 1)})
        told.append(named_stage(curves, np.ones(count, dtype=bool), ["loss"]) != STILL)
    assert np.mean(told) < 1 / 8


def test_of_vector_valued_metrics_alone_the_columns_that_move_most_are_told():
    steps = np.arange(1, 101)
    values = np.stack([np.ones(100), steps / 100, 1 - steps / 200, np.cos(steps)], axis=1)
    curves = xr.Dataset({"head_norm": (("step", "head"), values)}, coords={"step": steps, "head": [3, 4, 5, 6]})
    text = named_stage(curves, np.ones(100, dtype=bool), ["head_norm"])
    assert text == "head norm 4 rises 0.02 → 0.99, head norm 5 falls 0.99 → 0.51"


def test_a_restricted_loss_that_halves_before_test_accuracy_moves_is_circuit_formation():
    assert line(modular(restricted_loss=4 - 3.9 * LATER)).startswith("circuit formation: restricted loss falls")
    assert "circuit" not in line(modular(restricted_loss=4 - 3.9 * LATER, test_accuracy=LATER))
    assert "circuit" not in line(modular(restricted_loss=4 - 1.0 * LATER))


@pytest.mark.parametrize(
    ("curves", "forms"),
    [
        ({"excluded_loss": 0.1 + 0.4 * LATER}, True),
        ({"excluded_loss": 2.4 - 2.3 * LATER}, False),
        ({"excluded_loss": 0.1 + 0.001 * LATER}, False),
        ({"restricted_loss_test": 4 - 3.9 * LATER}, True),
        ({"restricted_loss_test": 4 - LATER}, False),
        ({"test_accuracy": 0.07 + 0.05 * jump(6000)}, False),
        ({"test_accuracy": 100 * jump(6000)}, True),
    ],
)
def test_a_network_that_only_memorizes_forms_no_circuit_though_its_restricted_loss_falls(curves, forms):
    text = line(modular(restricted_loss=4 - 3.9 * LATER, **curves))
    assert text.startswith("circuit formation") == forms
    assert "restricted loss falls" in text


def test_weights_that_shrink_around_a_circuit_while_the_test_loss_falls_are_cleanup():
    formed = {"restricted_loss": 4 - 3.9 * jump(50), "test_accuracy": jump(50)}
    falls = {"test_loss": 9 - 8.9 * LATER, "weight_norm": 50 - 5 * LATER}
    assert line(modular(**formed, **falls)).startswith("cleanup: test loss falls")
    assert "cleanup" not in line(modular(**formed, **{**falls, "weight_norm": 50 + 5 * LATER}))
    assert "cleanup" not in line(modular(**falls))


def polygons(before, after):
    labels = np.where(STEPS < 700, before, after)
    return run(train_loss=jump(6000)).assign(
        polygon=("step", labels), features_represented=("step", np.where(STEPS < 700, 3.0, 5.0))
    )


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("4-gon", "4-gon", "4-gon"),
        ("4-gon", "5-gon+", "4-gon → 5-gon+"),
        ("irregular", "irregular", "5 features represented"),
        ("none", "5-gon", "5 features represented"),
    ],
)
def test_superposition_is_told_by_its_polygon_or_by_how_many_features_it_has(before, after, text):
    assert named_stage(polygons(before, after), PART, ["train_loss"]) == text


def test_stages_of_a_run_tell_where_the_learning_coefficient_stays():
    curves = run(llc=2.0 + 3 * jump(100))
    curves["llc_se"] = ("step", np.full(len(X), 0.2))
    assert [one.label for one in detect(curves).stages] == [
        f"{STILL}; LLC plateau at 2.00 ± 0.03",
        f"{STILL}; LLC plateau at 5.00 ± 0.02",
    ]


def test_a_plateau_in_a_part_of_a_stage_says_which_part():
    curves = run(llc=2.0 + 3 * sigmoid(700, 1.5))
    curves["llc_se"] = ("step", np.full(len(X), 0.02))
    (stage,) = detect(curves).stages
    assert stage.label.startswith("LLC rises 2.")
    assert "LLC plateau at 2.0" in stage.label
    assert " from step 1 to " in stage.label


def test_stages_without_a_number_are_told_by_what_has_one():
    unknown = np.full(len(STEPS), np.nan)
    assert "feature" not in line(run(features_represented=unknown, a=LATER))
    gap = np.where(STEPS > 1000, np.nan, 1.0)
    assert line(run(features_represented=gap)).startswith("1 feature represented")
