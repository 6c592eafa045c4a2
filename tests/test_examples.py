"""The tasks and metrics of examples/, where they have answers that are known without them."""

import numpy as np
import pytest
import torch

from devi.analysis import analyze
from devi.plugins import load
from devi.training import train


def example(name, cls, kind="task"):
    return load(kind, f"examples/{name}.py:{cls}")


def test_a_deep_linear_network_learns_its_modes_one_by_one(tmp_path):
    deep = example("deep_linear", "DeepLinear")
    task = deep(size=8, singular_values=(8.0, 2.0), learning_rate=0.64, steps=1500, checkpoints="log:150")
    object.__setattr__(task, "metrics", lambda: deep.metrics(task)[:-1])  # without the learning coefficient
    found = analyze(train(task, tmp_path / "run")).transitions
    assert [[s.index for s in one.support if s.metric == "mode_strength"] for one in found] == [[0], [1]]
    # 0.64 of the mean over 64 entries is 0.01 of their sum: a mode of value s grows by exp(0.02 s) a step
    assert found[1].midpoint / found[0].midpoint == pytest.approx(4, rel=0.2)


def test_a_part_of_the_entries_leaves_the_others_for_the_test_split():
    task = example("deep_linear", "DeepLinear")(size=5, singular_values=(1.0,), seen=0.6)
    train_split, test_split = task.data("train"), task.data("test")
    assert (len(train_split.targets), len(test_split.targets)) == (15, 10)
    places = torch.cat([train_split.inputs, test_split.inputs])
    assert sorted(map(tuple, places.tolist())) == [(i, j) for i in range(5) for j in range(5)]
    assert torch.linalg.matrix_rank(task.target()) == 1


def test_prefix_matching_of_even_attention_is_the_share_of_places_behind_a_copy():
    task = example("induction", "Induction")(tokens=5, length=12)
    model = task.model()
    for layer in model.layers:
        torch.nn.init.zeros_(layer.read.weight)  # every place before is looked at alike
    tokens = task.data("test").inputs.tolist()
    shares = []
    for row in tokens:
        for i, token in enumerate(row):
            behind = [j for j in range(1, i + 1) if row[j - 1] == token]
            shares += [len(behind) / (i + 1)] if behind else []
    with torch.no_grad():
        found = example("induction", "PrefixMatching", "metric")().at(model, task)
    assert found == pytest.approx(np.full(8, np.mean(shares)), rel=1e-5)


def test_sums_are_right_and_no_digit_sees_itself():
    task = example("digit_addition", "DigitAddition")(digits=3)
    inputs, targets = task.data("test")
    numbers = inputs[:, :3] @ torch.tensor([100, 10, 1]) + inputs[:, 3:6] @ torch.tensor([100, 10, 1])
    assert (targets @ torch.tensor([1000, 100, 10, 1]) == numbers).all()
    model = task.model().eval()
    changed = inputs.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 10  # the last digit that is given away
    with torch.no_grad():
        difference = (model(inputs) - model(changed)).abs().amax((0, 2))
    assert (difference[:-1] == 0).all()
    assert difference[-1] > 0
