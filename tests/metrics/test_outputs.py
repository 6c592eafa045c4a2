"""Batched forward passes: same numbers as one checkpoint at a time, whatever the chunks and whatever vmap dislikes."""

import pytest
import torch
from torch import nn

from devi.errors import DeviError
from devi.known.memory_run import MemoryRun
from devi.metrics.outputs import outputs
from devi.task import Batch, Task
from devi.tasks.modular_addition import ModularAddition
from tests.metrics.memory_run import random_run

MLP = ModularAddition(p=7, embed=4, width=8)
TRANSFORMER = ModularAddition(p=7, embed=8, width=8, heads=2, architecture="transformer")
DEEP = ModularAddition(p=7, embed=8, width=8, heads=2, architecture="transformer", layers=2, layer_norm=True)


def collected(run, inputs, **settings):
    parts = {}
    for chunk in outputs(run, inputs, **settings):
        for place, values in enumerate(chunk.values, start=chunk.checkpoints.start):
            parts.setdefault(place, []).append(values)
    return torch.stack([torch.cat(parts[place]) for place in range(len(run))])


@pytest.mark.parametrize("task", [MLP, TRANSFORMER, DEEP], ids=["mlp", "transformer", "two layers"])
@pytest.mark.parametrize("memory", [1, 20_000, 2**26], ids=["one by one", "small chunks", "all at once"])
def test_chunks_of_any_size_give_what_single_models_give(task, memory):
    run, inputs = random_run(task, 5), task.pairs().inputs
    single = torch.stack([run.model_at(index)(inputs).detach() for index in range(5)])
    assert torch.allclose(collected(run, inputs, memory=memory), single, rtol=1e-5, atol=1e-6)


def test_a_method_other_than_forward_can_be_called():
    run, inputs = random_run(MLP, 3), MLP.pairs().inputs
    single = torch.stack([run.model_at(index).hidden(inputs).detach() for index in range(3)])
    assert torch.allclose(collected(run, inputs, method="hidden"), single, atol=1e-6)


def test_examples_stay_together_when_asked():
    run, inputs = random_run(MLP, 3), MLP.pairs().inputs
    for chunk in outputs(run, inputs, memory=1, split_examples=False):
        assert chunk.values.shape == (1, 49, 7)


def test_normalization_uses_the_buffers_of_each_checkpoint():
    class Normalized(Line):
        def model(self):
            return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))

    run = random_run(Normalized(), 3)
    for index, state in enumerate(run.states):
        state["1.running_mean"] = state["1.running_mean"] + index
    inputs = Line().data("train").inputs
    single = torch.stack([run.model_at(index)(inputs).detach() for index in range(3)])
    assert torch.allclose(collected(run, inputs), single, atol=1e-6)
    assert called_alone(run, inputs) == {0, 2}


@pytest.mark.parametrize("task", [MLP, TRANSFORMER, DEEP], ids=["mlp", "transformer", "two layers"])
def test_built_in_models_need_no_model_but_the_template_and_the_one_it_is_compared_with(task):
    assert called_alone(random_run(task, 5), task.pairs().inputs) == {0, 4}


def called_alone(run, inputs):
    """Places of the checkpoints whose model was built by itself."""
    places, model_at = [], run.model_at
    run.model_at = lambda place: (places.append(place), model_at(place))[1]
    list(outputs(run, inputs))
    run.model_at = model_at
    return set(places)


def test_a_model_whose_control_flow_reads_values_is_called_one_by_one():
    class Branching(nn.Linear):
        def forward(self, x):
            return super().forward(x) if float(self.weight.detach().sum()) > 0 else -super().forward(x)

    class Branches(Line):
        def model(self):
            return Branching(2, 1)

    run = random_run(Branches(), 6)
    inputs = Line().data("train").inputs
    single = torch.stack([run.model_at(index)(inputs).detach() for index in range(6)])
    assert torch.equal(collected(run, inputs), single)


def test_a_model_that_keeps_its_weights_in_a_second_place_is_called_one_by_one():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(2, 2))
            self.again = [self.weight]  # a list hides it from functional_call, which would go on using the first one

        def forward(self, x):
            return x @ self.weight @ self.again[0]

    class Ties(Line):
        def model(self):
            return Tied()

    run = random_run(Ties(), 6)
    inputs = Line().data("train").inputs
    single = torch.stack([run.model_at(index)(inputs).detach() for index in range(6)])
    assert torch.equal(collected(run, inputs), single)


def test_checkpoints_that_are_not_finite_do_not_spoil_the_others():
    states, inputs = random_run(MLP, 4).states, MLP.pairs().inputs
    states[3]["unembed.weight"][:] = float("nan")
    run = MemoryRun.of_states(MLP, states)
    values = collected(run, inputs)
    assert values[3].isnan().all()
    assert torch.allclose(values[0], run.model_at(0)(inputs).detach(), atol=1e-6)


def test_a_model_that_returns_no_tensor_is_named():
    class Dictionary(nn.Linear):
        def forward(self, x):
            return {"logits": super().forward(x)}

    class Dictionaries(Line):
        def model(self):
            return Dictionary(2, 1)

    with pytest.raises(
        DeviError, match=r"task Dictionaries: model.forward\(inputs\) returned a dict; expected one Tensor"
    ):
        list(outputs(random_run(Dictionaries(), 2), Line().data("train").inputs))


def test_outputs_that_are_not_one_per_example_are_named():
    class Summed(nn.Linear):
        def forward(self, x):
            return super().forward(x).sum()

    class Sums(Line):
        def model(self):
            return Summed(2, 1)

    with pytest.raises(DeviError, match=r"of 10 inputs returned shape \(\); expected \(10, ...\)"):
        list(outputs(random_run(Sums(), 2), Line().data("train").inputs))


class Line(Task):
    def model(self):
        return nn.Linear(2, 1)

    def data(self, split):
        inputs = torch.linspace(-1, 1, 20).reshape(10, 2)
        return Batch(inputs, inputs[:, :1]) if split == "train" else None

    def loss(self, outputs, targets):
        return (outputs - targets).square().sum(-1)
