"""Names of events: what was learned, formed, spoiled, or merely moved."""

from __future__ import annotations

import numpy as np
import pytest

from devi.transitions.fusion import find_transitions
from tests.transitions.planted import BACKGROUNDS, X, jump, kink, run, sigmoid

LEARNS = 0.02 + 0.98 * sigmoid(30, 0.3)  # train accuracy
TRAIN_LOSS = 4 - 4 * sigmoid(30, 0.3)


def labels(**curves):
    return [one.label for one in find_transitions(run(**curves))]


@pytest.mark.parametrize("partial", [0.0, 0.2, 0.4, 0.5])
def test_memorization_with_a_part_of_the_test_set_is_memorization_still(partial):
    assert labels(train_accuracy=LEARNS, test_accuracy=0.02 + partial * sigmoid(33, 0.3)) == ["memorization"]


@pytest.mark.parametrize("gained", [0.6, 0.97])
def test_generalization_closes_at_least_half_of_what_was_lacking(gained):
    found = labels(train_accuracy=LEARNS, test_accuracy=0.02 + gained * sigmoid(1500, 0.3))
    assert found == ["memorization", "generalization"]


def test_both_sets_learned_at_once_is_generalization():
    assert labels(train_accuracy=LEARNS, test_accuracy=0.02 + 0.95 * sigmoid(33, 0.3)) == ["generalization"]


def test_a_test_set_learned_as_far_as_the_training_set_is_no_memorization():
    """Fresh data at every step: nothing can be memorized."""
    half = 0.45 * sigmoid(800, 0.1)
    assert labels(train_accuracy=half, test_accuracy=half) == ["test accuracy and train accuracy"]


def test_the_second_half_of_the_test_set_is_generalization_too():
    both = 0.02 + 0.4 * sigmoid(33, 0.3) + 0.57 * sigmoid(1500, 0.3)
    assert labels(train_accuracy=LEARNS, test_accuracy=both) == ["memorization", "generalization"]


def test_accuracy_in_per_cent_is_judged_against_a_hundred():
    assert labels(train_accuracy=100 * LEARNS, test_accuracy=35 * sigmoid(33, 0.3)) == ["memorization"]
    assert labels(train_accuracy=100 * LEARNS, test_accuracy=97 * sigmoid(1500, 0.3))[-1] == "generalization"


def test_a_falling_restricted_loss_is_circuit_formation_until_test_accuracy_moves():
    restricted = 4 - 4 * sigmoid(300, 0.3)
    assert labels(restricted_loss=restricted, test_accuracy=sigmoid(2000, 0.3)) == [
        "circuit formation",
        "generalization",
    ]
    assert labels(restricted_loss=restricted, test_accuracy=sigmoid(310, 0.3)) == ["generalization"]


def test_no_circuit_forms_where_the_excluded_loss_falls_or_test_accuracy_stays_at_chance():
    restricted, still = 4 - 4 * sigmoid(300, 0.3), 0.02 + 0 * X
    learns_later = {"restricted_loss": restricted, "test_accuracy": sigmoid(5000, 0.3)}
    assert labels(excluded_loss=1 + sigmoid(300, 0.3), **learns_later)[0] == "circuit formation"
    assert labels(excluded_loss=2 - sigmoid(300, 0.3), **learns_later)[0] == "restricted loss and excluded loss"
    assert labels(restricted_loss=restricted, test_accuracy=still) == ["restricted loss"]


def test_a_restricted_loss_that_rises_forms_no_circuit():
    y = 1 + 3 * np.exp(-((X / 0.5) ** 2)) + 2 * sigmoid(1500, 0.3)
    assert "circuit formation" not in labels(restricted_loss=y, test_loss=2 * sigmoid(1500, 0.3))


def test_a_spike_of_a_tiny_training_loss_makes_a_jump_an_instability():
    """1e-2 nats where the run started from 4: invisible on a linear axis, ten thousand times the loss before."""
    at = int(np.argmax(jump(2000)))
    spiked = np.maximum(TRAIN_LOSS, 1e-6)
    spiked[at : at + 3] = 1e-2
    curves = {"test_loss": 10 + 20 * jump(2000), "train_accuracy": LEARNS}
    assert labels(train_loss=spiked, **curves) == ["memorization", "instability"]
    assert labels(train_loss=TRAIN_LOSS, **curves) == ["memorization", "overfitting"]


def test_a_test_loss_that_rises_with_the_training_loss_is_no_overfitting():
    rise = 1 + 0.8 * sigmoid(1500, 0.3)
    (alone,) = find_transitions(run(test_loss=rise, train_loss=1 + 0 * X))
    assert (alone.type, alone.label) == ("overfit_rise", "overfitting")
    (both,) = find_transitions(run(test_loss=rise, train_loss=0.9 * rise))
    assert (both.type, both.label) == ("step", "test loss and train loss")
    assert "overfitted" not in both.description


def test_generalization_beside_a_spike_is_no_instability():
    at = int(np.argmax(jump(2000)))
    spiked = np.maximum(TRAIN_LOSS, 1e-6)
    spiked[at : at + 3] = 1e-2
    assert labels(train_loss=spiked, test_accuracy=sigmoid(2000, 0.2))[-1] == "generalization"


def test_other_changes_are_called_by_readable_names():
    assert labels(test_loss=4 + BACKGROUNDS["power"] + sigmoid(400, 0.3), llc=-90 * sigmoid(400, 0.25)) == [
        "test loss and LLC"
    ]
    (bent,) = find_transitions(run(llc=30 * kink(400), other=3 * kink(400)), operating_point="exploratory")
    assert bent.label == "kink in LLC and other"


def test_a_circuit_that_is_finished_later_is_still_formation_and_a_small_gain_is_not():
    """4 to 0.7 nats, then to 0.01: the second is small on the first one's scale and yet all that was left."""
    late = 4.01 - 3.3 * sigmoid(30, 0.3) - 0.7 * sigmoid(600, 0.3)
    assert labels(restricted_loss=late, test_loss=4 - late) == ["circuit formation"] * 2
    small = 4.01 - 1 * sigmoid(30, 0.3) - 3 * sigmoid(600, 0.3)
    assert labels(restricted_loss=small, a=small) == ["restricted loss and a", "circuit formation"]


def test_one_loss_on_several_splits_is_named_once():
    y = 4 - 1 * sigmoid(30, 0.3) - 3 * sigmoid(600, 0.3)
    (early, _) = find_transitions(run(restricted_loss=y, restricted_loss_test=y, restricted_loss_train=y))
    assert early.label == "restricted loss"


def test_a_rise_of_two_parts_without_a_pause_is_one_event():
    ramp = np.clip(0.5 + 0.8 * (X - np.log10(38)) / 0.17, 0, 1)
    curves = run(train_accuracy=0.4 * sigmoid(23, 0.48) + 0.6 * ramp, test_accuracy=0 * X)
    (one,) = find_transitions(curves, operating_point="exploratory")
    assert one.label == "memorization"
    assert np.log10(one.end / one.onset) == pytest.approx(0.5, abs=0.1)  # of the whole, not of a part


def test_an_entering_feature_beside_a_spike_is_no_instability_and_a_small_gain_is_no_memorization():
    at = int(np.argmax(jump(400)))
    spiked = TRAIN_LOSS + np.where(np.arange(len(X)) == at, 30.0, 0.0)
    norms = np.stack([jump(400), 0 * X], axis=1)
    found = labels(feature_norm=norms, train_loss=spiked, test_loss=0 * X, weight_norm=jump(400))
    assert "feature 0 enters" in found
    assert "instability" not in found
    assert (
        "memorization" not in labels(train_loss=4 - 3.5 * sigmoid(30, 0.3) - 0.5 * jump(2000), test_loss=4 + X * 0)[1:]
    )


def test_a_feature_whose_norm_rises_but_stays_small_does_not_enter():
    small = 0.05 + 0.25 * sigmoid(400, 0.2)  # most of its own range, and of no represented feature's
    norms = np.stack([1 + 0 * X, sigmoid(400, 0.2), small], axis=1)
    assert labels(feature_norm=norms, train_loss=1 - sigmoid(400, 0.2)) == ["feature 1 enters"]


def test_a_polygon_that_turns_into_another_is_told():
    norms = np.stack([1 + 0 * X, sigmoid(400, 0.2)], axis=1)
    curves = run(feature_norm=norms, train_loss=1 - sigmoid(400, 0.2))
    turned = curves.assign(polygon=("step", np.where(np.log10(400) > X, "4-gon", "5-gon")))
    assert [one.label for one in find_transitions(turned)] == ["feature 1 enters, 4-gon → 5-gon"]
    (quiet,) = find_transitions(turned.drop_vars("feature_norm"))
    assert quiet.label == "4-gon → 5-gon"
    assert "the polygon of the features turned, 4-gon → 5-gon: train loss" in quiet.description


def test_an_accuracy_that_ends_an_instability_a_hair_higher_gains_nothing():
    at = int(np.argmax(jump(2000)))
    spiked = np.maximum(TRAIN_LOSS, 1e-6)
    spiked[at : at + 3] = 1e-2
    curves = {"test_loss": 10 + 20 * jump(2000), "train_accuracy": LEARNS}
    assert labels(train_loss=spiked, test_accuracy=0.3 * LEARNS + 0.004 * jump(2000), **curves)[-1] == "instability"
