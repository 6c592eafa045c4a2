"""Losses: chance, perfect answers, invariance, and what is said of a loss of the wrong shape."""

from functools import partial

import numpy as np
import pytest
import torch

from devi.errors import DeviError
from devi.known.memory_run import MemoryRun
from devi.metrics.losses import Losses
from devi.metrics.outputs import outputs
from devi.tasks.modular_addition import ModularAddition
from devi.tasks.superposition import Superposition
from tests.metrics.memory_run import random_run

TASK = ModularAddition(p=7, embed=4, width=8)


def test_a_network_of_zeros_has_the_loss_of_chance():
    run = random_run(TASK, 2)
    zeros = [{name: 0 * values for name, values in state.items()} for state in run.states]
    found = Losses().over(MemoryRun.of_states(TASK, zeros))
    assert np.allclose(found.train_loss, np.log(7), atol=1e-7)
    assert np.allclose(found.test_loss, np.log(7), atol=1e-7)


def test_values_are_those_of_a_plain_loop():
    run = random_run(TASK, 4)
    found = Losses().over(run)
    for split in ("train", "test"):
        inputs, targets = TASK.data(split)
        for index in range(4):
            logits = run.model_at(index)(inputs).detach()
            assert float(found[f"{split}_loss"][index]) == pytest.approx(
                float(torch.nn.functional.cross_entropy(logits, targets)), rel=1e-5
            )
            assert float(found[f"{split}_accuracy"][index]) == float((logits.argmax(-1) == targets).double().mean())


def test_two_blocks_of_one_are_one_block_of_two():
    run = random_run(TASK, 2)
    whole = Losses().over(run)
    for index in range(2):
        part = Losses().over(run.block(index, index + 1))
        for name in whole:
            assert np.allclose(part[name][0], whole[name][index], rtol=1e-6)


def test_examples_taken_a_few_at_a_time_give_the_same_means(monkeypatch):
    run = random_run(TASK, 3)
    whole = Losses().over(run)
    monkeypatch.setattr("devi.metrics.losses.outputs", partial(outputs, memory=2_000))
    assert sum(1 for _ in outputs(run, TASK.data("test").inputs, memory=2_000)) > 6  # several pieces a checkpoint
    for name, values in Losses().over(run).items():
        assert np.allclose(values, whole[name], rtol=1e-6), name


def test_permuting_hidden_units_changes_nothing():
    run = random_run(TASK, 1)
    order = np.random.default_rng(0).permutation(8)
    state = dict(run.states[0])
    for name in ("left.weight", "left.bias", "right.weight", "right.bias"):
        state[name] = state[name][order]
    state["unembed.weight"] = state["unembed.weight"][:, order]
    before, after = Losses().over(run), Losses().over(MemoryRun.of_states(TASK, [state]))
    for name in before:
        assert np.allclose(before[name], after[name], rtol=1e-5)


def test_an_absent_split_or_accuracy_is_absent():
    assert set(Losses().over(random_run(ModularAddition(p=5, embed=4, width=4, train_fraction=1.0), 1))) == {
        "train_loss",
        "train_accuracy",
    }
    assert set(Losses().over(random_run(Superposition(), 1))) == {"train_loss", "test_loss"}


def test_units_are_the_tasks_own():
    assert Losses().over(random_run(TASK, 1)).train_loss.units == "nats"
    assert Losses().over(random_run(Superposition(), 1)).train_loss.units == "squared error"


def test_a_loss_that_was_averaged_is_named_with_the_remedy():
    class Averaged(ModularAddition):
        def loss(self, outputs, targets):
            return super().loss(outputs, targets).mean()

    with pytest.raises(
        DeviError,
        match=r"task Averaged: loss\(outputs, targets\) on 19 train examples returned shape \(\); expected a Tensor"
        r" \(19,\), one value per example. Use reduction='none'.",
    ):
        Losses().over(random_run(Averaged(p=7, embed=4, width=8), 1))
