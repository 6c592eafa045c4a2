"""Masks by magnitude: identical, independent, across blocks."""

import json
from itertools import combinations

import numpy as np
import pytest
import torch

from devi.errors import DeviError
from devi.known.memory_run import MemoryRun
from devi.metrics.tickets import Tickets, chance_overlap, largest
from devi.tasks.modular_addition import ModularAddition
from devi.tasks.superposition import Superposition
from tests.metrics.memory_run import random_run

TASK = ModularAddition(p=7, embed=4, width=8)


def test_identical_weights_overlap_fully():
    run = random_run(TASK, 1)
    found = Tickets().over(MemoryRun.of_states(TASK, run.states * 2))
    assert np.isnan(found.ticket_overlap_previous[0])
    assert float(found.ticket_overlap_previous[1]) == 1
    assert np.array_equal(found.ticket_overlap_final, [1, 1])
    assert (found.layer_ticket_overlap_final.dropna("parameter") == 1).all()


def test_a_mask_depends_on_the_order_of_magnitudes_alone():
    run = random_run(TASK, 1)
    scaled = {name: -3 * values for name, values in run.states[0].items()}
    found = Tickets().over(MemoryRun.of_states(TASK, [run.states[0], scaled]))
    assert float(found.ticket_overlap_previous[1]) == 1


def test_disjoint_masks_overlap_by_nothing():
    task = Superposition(features=5, hidden=2)
    first = {"W": np.arange(10, dtype=np.float32).reshape(2, 5), "b": np.zeros(5, np.float32)}
    second = {"W": first["W"][::-1, ::-1].copy(), "b": first["b"]}
    found = Tickets(kept_fraction=0.5).over(MemoryRun.of_states(task, [first, second]))
    assert float(found.ticket_overlap_previous[1]) == 0


@pytest.mark.parametrize("kept", [0.01, 0.1, 0.4, 0.5, 0.99])
@pytest.mark.parametrize("count", [1, 3, 10, 1000])
def test_the_kept_count_is_exact_even_among_equals(kept, count):
    for sizes in (np.random.default_rng(0).random(count), np.zeros(count), np.repeat([1.0, 2.0], count)[:count]):
        assert largest(sizes, kept).sum() == max(1, round(kept * count))


def test_kept_weights_are_the_largest():
    sizes = np.random.default_rng(1).random(100)
    mask = largest(sizes, 0.4)
    assert sizes[mask].min() > sizes[~mask].max()


def test_densities_average_to_the_kept_fraction():
    found = Tickets(kept_fraction=0.3).over(random_run(TASK, 2))
    sizes = {name: values.size for name, values in random_run(TASK, 1).states[0].items() if values.ndim >= 2}
    total = sum(float(found.ticket_density.sel(parameter=name)[0]) * size for name, size in sizes.items())
    assert total == pytest.approx(round(0.3 * sum(sizes.values())))


def test_biases_are_not_pruned():
    found = Tickets().over(random_run(TASK, 1))
    names = found.parameter[~np.isnan(found.ticket_density[0])].values.tolist()
    assert names == ["embed.weight", "left.weight", "right.weight", "unembed.weight"]
    assert "left.bias" in found.parameter


def test_a_parameter_without_elements_is_in_no_mask():
    class Empty(ModularAddition):
        """With a factor of rank 0, which has two dimensions and nothing to keep."""

        def model(self):
            model = super().model()
            model.empty = torch.nn.Parameter(torch.zeros(0, 4))
            return model

    found = Tickets(keep_masks=True).over(random_run(Empty(p=7, embed=4, width=8), 2))
    assert np.isnan(found.ticket_density.sel(parameter="empty")).all()
    assert "empty" not in json.loads(found.ticket_masks.shapes)
    assert float(found.ticket_density.sel(parameter="embed.weight")[0]) > 0


def test_blocks_give_what_the_whole_run_gives_across_their_borders():
    run = random_run(TASK, 4)
    metric = Tickets(keep_masks=True).resolved(run)
    assert metric.final_step == 30
    whole = metric.over(run)
    for start, stop in ((0, 1), (1, 3), (3, 4)):
        part = metric.over(run.block(start, stop))
        for name in whole:
            assert np.array_equal(part[name], whole[name][start:stop], equal_nan=True), name


def test_kept_masks_unpack_to_the_densities():
    found = Tickets(keep_masks=True).over(random_run(TASK, 2))
    shapes = json.loads(found.ticket_masks.shapes)
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    bits = np.unpackbits(found.ticket_masks.values, axis=1, count=sum(sizes)).astype(bool)
    for name, part in zip(shapes, np.split(bits, np.cumsum(sizes)[:-1], axis=1), strict=True):
        assert np.allclose(part.mean(1), found.ticket_density.sel(parameter=name))


def test_a_checkpoint_that_is_not_finite_has_no_mask():
    states = random_run(TASK, 3).states
    states[1]["unembed.weight"][0, 0] = np.nan
    run = MemoryRun.of_states(TASK, states)
    found = Tickets(keep_masks=True).over(run)
    assert np.array_equal(np.isnan(found.ticket_overlap_previous), [True, True, True])
    assert np.array_equal(np.isnan(found.ticket_overlap_final), [False, True, False])


def test_a_step_that_is_no_checkpoint_is_named_with_the_nearest():
    with pytest.raises(DeviError, match=r"final_step=12 is not a checkpoint of this run; the nearest is 10"):
        Tickets(final_step=12).over(random_run(TASK, 3))


def test_overlaps_are_not_searched_for_transitions_and_carry_their_chance_level():
    found = Tickets().over(random_run(TASK, 2))
    for name in found:
        if "overlap" in name:
            assert found[name].attrs["detect"] == 0
            assert np.nanmin(found[name].attrs["chance"]) == pytest.approx(0.25, abs=0.01)
    assert np.allclose(found.ticket_overlap_chance, chance_overlap(148, 59))


def test_the_chance_overlap_is_the_mean_over_all_pairs_of_masks():
    for count, kept in ((10, 4), (4, 1), (3, 2), (5, 5)):
        masks = [set(places) for places in combinations(range(count), kept)]
        shared = np.mean([len(one & other) / len(one | other) for one in masks for other in masks])
        assert chance_overlap(count, kept) == pytest.approx(shared)
    exact, limit = chance_overlap(10_000, 4000), chance_overlap(10_001, 4000)
    assert exact == pytest.approx(limit, rel=2e-4)


def test_each_layer_has_the_chance_overlap_of_its_size():
    task = ModularAddition(p=5, embed=2, width=3)
    found = Tickets(kept_fraction=0.1).over(random_run(task, 2)).layer_ticket_overlap_final
    of = dict(zip(found.parameter.values, found.attrs["chance"], strict=True))
    assert of["embed.weight"] == pytest.approx(chance_overlap(10, 1))
    assert of["unembed.weight"] == pytest.approx(chance_overlap(15, 2))
    assert np.isnan(of["left.bias"])


@pytest.mark.slow
def test_independent_weights_overlap_by_chance():
    """False-alarm rate 2e-3: 32 comparisons within 4 standard errors of the mean over 400 pairs (6e-5 each)."""
    rng = np.random.default_rng(0)
    count = 500
    for kept in np.repeat([0.1, 0.2, 0.4, 0.6], 8):
        shared = []
        for _ in range(400):
            one, other = largest(rng.random(count), kept), largest(rng.random(count), kept)
            both = (one & other).sum()
            shared.append(both / (2 * one.sum() - both))
        shared = np.array(shared)
        error = shared.std(ddof=1) / np.sqrt(len(shared))
        # The ratio's curvature shifts the mean of J = x/(2κ−x) from κ/(2−κ) by less than var(x)·J''/2 < 1e-3.
        assert error < 3e-3
        assert abs(shared.mean() - kept / (2 - kept)) < 4 * error + 1e-3
