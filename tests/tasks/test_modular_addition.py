import math

import pytest
import torch

from devi.errors import DeviError
from devi.tasks.modular_addition import ModularAddition


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_short_forward_and_its_gradient_equal_the_plain_one(layers, layer_norm):
    torch.manual_seed(0)
    task = ModularAddition(p=11, architecture="transformer", embed=16, width=24, layers=layers, layer_norm=layer_norm)
    model = task.model().double()
    x, y = task.data("train")
    gradients = []
    for forward in (model.forward, model.plain):
        model.zero_grad()
        task.loss(forward(x), y).mean().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    assert torch.allclose(model(x), model.plain(x), rtol=0, atol=1e-12)
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-9, atol=1e-12), name


def test_the_sum_mlp_equals_its_formula_written_out():
    torch.manual_seed(0)
    task = ModularAddition(p=7, embed=5, width=9)
    model = task.model().double()
    x, _ = task.data("train")
    a, b = model.embed(x[:, 0]), model.embed(x[:, 1])
    expected = model.unembed(torch.nn.functional.gelu(model.left(a) + model.right(b)))
    assert torch.allclose(model(x), expected, rtol=0, atol=1e-12)


def test_sizes_are_those_of_the_published_networks():
    def size(task):
        return 4 * sum(parameter.numel() for parameter in task.model().parameters())

    assert size(ModularAddition()) == 67_712
    assert size(ModularAddition(**ModularAddition.presets["p113"])) == 907_264
    assert size(ModularAddition(**ModularAddition.presets["p43"])) == 155_136
    assert size(ModularAddition(embed=128, width=256)) == 345_600


@pytest.mark.parametrize(
    ("operation", "formula"),
    [
        ("add", lambda a, b: a + b),
        ("subtract", lambda a, b: a - b),
        ("x²+xy+y²", lambda a, b: a * a + a * b + b * b),
        ("x2+xy+y2", lambda a, b: a * a + a * b + b * b),
    ],
)
def test_every_pair_has_its_answer(operation, formula):
    inputs, targets = ModularAddition(p=7, operation=operation).pairs()
    assert inputs.tolist() == [[a, b] for a in range(7) for b in range(7)]
    assert targets.tolist() == [formula(a, b) % 7 for a in range(7) for b in range(7)]


def test_train_and_test_share_no_pair_and_miss_none():
    task = ModularAddition(p=13, train_fraction=0.3)
    train, test = task.data("train"), task.data("test")
    seen = {tuple(pair) for pair in torch.cat([train.inputs, test.inputs]).tolist()}
    assert len(train.inputs) == int(0.3 * 169)
    assert len(seen) == len(train.inputs) + len(test.inputs) == 169


def test_everything_trained_on_leaves_no_test_split():
    assert ModularAddition(p=5, train_fraction=1.0).data("test") is None


def test_a_uniform_output_has_loss_log_p_and_chance_accuracy():
    task = ModularAddition(p=10)
    _, targets = task.pairs()
    flat = torch.zeros(100, 10)
    assert torch.allclose(task.loss(flat, targets), torch.full((100,), math.log(10)))
    assert task.accuracy(torch.eye(10)[targets], targets).mean() == 1


def test_shuffled_labels_are_the_same_labels_in_another_order():
    plain, twin = ModularAddition(p=11), ModularAddition(p=11, shuffle_labels=True)
    every = [torch.cat([task.data("train").targets, task.data("test").targets]) for task in (plain, twin)]
    assert not torch.equal(*every)
    assert torch.equal(*(labels.sort().values for labels in every))


def test_settings_that_do_not_fit_together_are_refused():
    with pytest.raises(DeviError, match="embed=30 must be a multiple of heads=4"):
        ModularAddition(architecture="transformer", embed=30)
    with pytest.raises(DeviError, match="need architecture=transformer"):
        ModularAddition(layers=2)
    with pytest.raises(DeviError, match="leaves nothing to"):
        ModularAddition(p=3, train_fraction=0.01)
