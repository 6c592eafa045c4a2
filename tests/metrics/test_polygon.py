"""Polygons that are known, and figures that are none."""

import numpy as np
import pytest

from devi.metrics.polygon import hull, polygon


def regular(k, *, features=6, length=1.0, turn=0.3):
    columns = np.zeros((2, features))
    angles = turn + 2 * np.pi * np.arange(k) / k
    columns[:, :k] = length * np.stack([np.cos(angles), np.sin(angles)])
    return columns


def named(columns, bias=None):
    return polygon(columns, bias, minimum_norm=0.3, tolerance=0.15)


@pytest.mark.parametrize("k", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("turn", [0.0, 0.3, 2.0])
def test_a_regular_polygon_is_named_by_its_corners(k, turn):
    found = named(regular(k, turn=turn))
    assert found.label == f"{k}-gon"
    assert found.vertices == k
    assert found.angle_spread == pytest.approx(0, abs=1e-9)
    assert found.length_spread == pytest.approx(0, abs=1e-9)


def test_a_column_outside_the_polygon_with_a_positive_bias_adds_a_plus():
    bias = np.array([-1, -1, -1, -1, -1, 0.1])
    assert named(regular(5), bias).label == "5-gon+"
    assert named(regular(5), -np.abs(bias)).label == "5-gon"
    assert named(regular(6), bias).label == "6-gon"  # no column is outside


def test_no_column_of_some_length_is_none():
    found = named(regular(5, length=0.2))
    assert found.label == "none"
    assert np.isnan(found.angle_spread)


def test_unequal_lengths_angles_or_a_corner_inside_are_irregular():
    longer = regular(4)
    longer[:, 0] *= 1.4
    assert named(longer).label == "irregular"
    assert named(longer).length_spread == pytest.approx(0.4 / 1.1)
    skewed = regular(3)
    skewed[:, 2] = -skewed[:, 0]
    assert named(skewed).label == "irregular"
    doubled = regular(2)
    doubled[:, 2] = doubled[:, 0]  # two features on one ray
    assert named(doubled).label == "irregular"
    inside = regular(3)
    inside[:, 3] = 0.4 * inside[:, 0] + 0.4 * inside[:, 1]
    inside[:, 3] *= 0.55 / np.linalg.norm(inside[:, 3])
    assert named(inside).label == "irregular"


def test_weights_that_are_not_finite_are_none():
    columns = regular(4)
    columns[0, 0] = np.nan
    assert named(columns).label == "none"


def test_a_hull_leaves_out_inner_points_and_points_on_an_edge():
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2], [1, 0], [1, 1]], float)
    assert sorted(map(tuple, hull(square))) == [(0, 0), (0, 2), (2, 0), (2, 2)]


def test_turning_and_mirroring_the_plane_changes_nothing():
    columns = np.random.default_rng(0).normal(size=(2, 6))
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    before, after = named(columns), named(turn @ columns[[1, 0]])
    assert before.label == after.label
    assert np.allclose(before[1:], after[1:])
