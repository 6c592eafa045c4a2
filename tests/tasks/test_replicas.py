from dataclasses import dataclass

import pytest
import torch

from devi.errors import DeviError
from devi.known.memory_run import MemoryRun
from devi.sampling.posterior import Posterior
from devi.tasks import attention_table, modular_addition, modular_replicas, superposition_replicas, transformer_replicas
from devi.tasks.modular_addition import ModularAddition
from devi.tasks.scratch import Scratch
from devi.tasks.superposition import Superposition

TRANSFORMER = {"architecture": "transformer", "p": 7, "embed": 8, "width": 12, "heads": 2}
TASKS = {
    "superposition": Superposition(init_scale=0.5),
    "linear superposition": Superposition(init_scale=0.5, output="linear"),
    "superposition, many features": Superposition(features=9, hidden=3, init_scale=0.5, examples=600),
    "sparse superposition": Superposition(features=9, hidden=3, distribution="sparse", init_scale=0.5, examples=70),
    "mlp": ModularAddition(p=7, embed=4, width=8, train_fraction=0.9),
    "transformer": ModularAddition(**TRANSFORMER, train_fraction=0.9),
}


def posterior_of(task, count=3, **settings):
    models = []
    for seed in range(count):
        torch.manual_seed(seed)
        models.append(task.model())
    return Posterior(MemoryRun.of(task, models), **settings)


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_the_formulas_are_the_model_and_its_derivative(task, monkeypatch):
    for module in (superposition_replicas, modular_replicas, transformer_replicas):
        monkeypatch.setattr(module, "AT_ONCE", 40)  # several pieces, the last one smaller
    monkeypatch.setattr(modular_addition, "FEWEST_EXAMPLES", 0)
    posterior = posterior_of(task, dtype=torch.float64)
    rows = torch.tensor([2, 0, 1, 2])
    given = posterior.centers[rows], posterior.fixed_at(rows), posterior.data
    assert posterior.replicas is not None
    written = (*posterior.loss_and_gradient(*given), posterior.losses(*given))
    posterior.replicas = None
    derived = (*posterior.loss_and_gradient(*given), posterior.losses(*given))
    for own, other in zip(written, derived, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-11, atol=1e-13)


def test_a_restriction_takes_its_part_of_the_written_gradient():
    for restriction in ("unembed.*", "left.weight[0:3]"):
        posterior = posterior_of(TASKS["mlp"], dtype=torch.float64, restriction=restriction)
        rows = torch.arange(3)
        given = posterior.centers, posterior.fixed_at(rows), posterior.data
        written = posterior.loss_and_gradient(*given)
        posterior.replicas = None
        for own, other in zip(written, posterior.loss_and_gradient(*given), strict=True):
            torch.testing.assert_close(own, other, rtol=1e-11, atol=1e-13)


@dataclass(frozen=True)
class Doubled(Superposition):
    def loss(self, outputs, targets):
        return 2 * super().loss(outputs, targets)


@dataclass(frozen=True)
class Wrong(Superposition):
    def replicas(self):
        return superposition_replicas.SuperpositionReplicas(2 * self.importances(), relu=True)


def test_sums_over_one_hot_examples_are_for_their_own_targets():
    task = Superposition(features=3, examples=600)
    replicas = task.replicas()
    parameters = {name: torch.randn(4, *value.shape) for name, value in task.model().named_parameters()}
    inputs = task.data("train").inputs
    given = replicas(parameters, inputs, inputs, gradients=True)
    other = replicas(parameters, inputs, 2 * inputs, gradients=True)
    assert other[0].shape == (4, 600)  # gone through one by one
    assert not torch.allclose(other[1]["W"], given[1]["W"])
    again = replicas(parameters, inputs, inputs, gradients=True)
    assert torch.equal(again[1]["W"], given[1]["W"])


@pytest.mark.parametrize(
    ("settings", "cost"),
    [({}, superposition_replicas.SUMS_COST), ({"distribution": "sparse"}, 1000), ({"output": "linear"}, 1000)],
)
def test_only_sums_over_one_hot_examples_cost_less_than_going_through_them(settings, cost):
    posterior = posterior_of(Superposition(examples=1000, init_scale=0.5, **settings))
    assert posterior.gradient_cost(1000) == cost
    assert posterior.gradient_cost(200) == 200  # sums would have to be made for each batch
    assert posterior_of(TASKS["mlp"]).gradient_cost(44) == 44


def test_a_task_with_another_loss_does_not_inherit_the_formulas():
    assert posterior_of(Doubled(init_scale=0.5)).replicas is None
    assert ModularAddition(**TRANSFORMER, layers=2).replicas() is None
    assert ModularAddition(**TRANSFORMER, layer_norm=True).replicas() is None


def test_a_transformer_with_few_examples_is_left_to_vmap_which_is_faster_there():
    small, large = (ModularAddition(architecture="transformer", p=p, train_fraction=0.5) for p in (13, 43))
    assert small.replicas() is None
    assert isinstance(large.replicas(), transformer_replicas.TransformerReplicas)
    assert ModularAddition(p=13, train_fraction=0.5).replicas() is not None  # all MLPs at once


def test_formulas_that_are_not_those_of_the_loss_are_refused():
    with pytest.raises(DeviError, match=r"task Wrong: replicas\(\) gives another loss or gradient.*autograd is used"):
        posterior_of(Wrong(init_scale=0.5))


def test_scratch_is_the_same_memory_until_another_shape_is_asked_for():
    scratch, like = Scratch(), torch.zeros(1)
    first = scratch("a", 3, like=like)
    assert scratch("a", 3, like=like) is first
    assert scratch("a", 4, like=like).shape == (4,)
    assert scratch("a", 4, like=like.double()).dtype == torch.float64


def test_the_attention_table_gives_the_stream_of_the_model():
    task = TASKS["transformer"]
    torch.manual_seed(0)
    model, inputs = task.model().double(), task.data("train").inputs
    weights = {name.removeprefix("blocks.0."): value.detach() for name, value in model.named_parameters()}
    table = attention_table.AttentionTable(weights, Scratch())
    torch.testing.assert_close(table.stream(inputs), model.last_stream(inputs).detach(), rtol=1e-12, atol=1e-12)
